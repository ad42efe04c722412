"""score_sklearn.py - AUC and log loss of saved predictions by scikit-learn.    python3 tests/score_sklearn.py FILE.npy AUC LOG_LOSS

FILE is what `qemb train --predictions FILE` wrote: [2][rows], predictions and labels. Exit 0: both equal to 1e-12; 1: not; 3: no scikit-learn."""
import sys

try:
    import numpy
    from sklearn.metrics import log_loss, roc_auc_score
except ImportError:
    sys.exit(3)

predictions, labels = numpy.load(sys.argv[1]).astype(numpy.float64)
auc = roc_auc_score(labels, predictions)
loss = log_loss(labels, predictions, labels=[0, 1])
print(f"scikit-learn: AUC {auc:.17g}, log loss {loss:.17g}")
sys.exit(0 if abs(auc - float(sys.argv[2])) < 1e-12 and abs(loss - float(sys.argv[3])) < 1e-12 else 1)
