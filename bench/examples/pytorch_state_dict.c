/* pytorch_state_dict.c - a module of PyTorch's moves in, is used, and moves out again.      pytorch_state_dict [FILE PREFIX]
 *
 * FILE is what safetensors.torch.save_file(model.state_dict(), FILE) writes, PREFIX the module's place in the model, such as "emb.". Without
 * arguments the program first writes such a file itself: a QAT EmbeddingBag of 4 rows of 3 after its first forward. */
#include <qemb/qemb_io.h>
#include <stdio.h>
#include <string.h>
#define TRY(call) if ((call) != QEMB_OK) return fprintf(stderr, "pytorch_state_dict: %s\n", qemb_last_error()), 1

static int write_example(const char *path) {
    static const float weight[4][3] = {{0.5f, -1.0f, 2.0f}, {1.5f, 0.25f, -0.75f}, {3.0f, 1.0f, -2.0f}, {0.0f, 0.125f, -0.5f}};
    static const float low[4] = {-1.0f, -0.75f, -2.0f, -0.5f}, high[4] = {2.0f, 1.5f, 3.0f, 0.125f}, eps[1] = {1.1920929e-07f};
    static const uint8_t on[1] = {1};
    float scale[4], zero_point[4];
    for (int r = 0; r < 4; r++) {
        scale[r] = (high[r] - low[r]) / 255.0f;
        zero_point[r] = -low[r] / scale[r];
    }
    const int64_t one[] = {1}, rows[] = {4}, table[] = {4, 3};
    const qemb_tensor_desc tensors[] = {
        {"emb.weight", table, 2, QEMB_FILE_F32},
        {"emb.weight_fake_quant.fake_quant_enabled", one, 1, QEMB_FILE_U8},
        {"emb.weight_fake_quant.observer_enabled", one, 1, QEMB_FILE_U8},
        {"emb.weight_fake_quant.scale", rows, 1, QEMB_FILE_F32},
        {"emb.weight_fake_quant.zero_point", rows, 1, QEMB_FILE_F32},
        {"emb.weight_fake_quant.activation_post_process.eps", one, 1, QEMB_FILE_F32},
        {"emb.weight_fake_quant.activation_post_process.min_val", rows, 1, QEMB_FILE_F32},
        {"emb.weight_fake_quant.activation_post_process.max_val", rows, 1, QEMB_FILE_F32},
    };
    const void *const data[] = {weight, on, on, scale, zero_point, eps, low, high};
    TRY(qemb_safetensors_save(path, tensors, data, 8, NULL, 0));
    return 0;
}

int main(int argc, char **argv) {
    const char *path = argc > 2 ? argv[1] : "torch.safetensors", *prefix = argc > 2 ? argv[2] : "emb.";
    char key[256];
    float row[3];
    qemb_safetensors *file = NULL;
    qemb_tensor_view weight;
    qemb_context *ctx = NULL;
    qemb_embedding_bag *bag = NULL;
    qemb_saver *saver = NULL;
    if (argc <= 2 && write_example(path)) return 1;
    TRY(qemb_safetensors_open(path, &file));
    (void)snprintf(key, sizeof key, "%sweight", prefix);
    TRY(qemb_safetensors_tensor(file, key, &weight)); /* its shape is the table's */
    TRY(qemb_context_create(NULL, &ctx));
    TRY(qemb_embedding_bag_create(ctx,
                                  &(qemb_embedding_bag_desc){.num_embeddings = weight.shape[0],
                                                             .embedding_dim = weight.shape[1],
                                                             .mode = QEMB_MODE_SUM,
                                                             .qconfig = qemb_qconfig_8bit()},
                                  &bag));
    TRY(qemb_load_module(file, prefix, bag));
    printf("%s: %lld x %lld\n", key, (long long)weight.shape[0], (long long)weight.shape[1]);
    if (weight.shape[1] == 3) {
        TRY(qemb_embedding_bag_read_weight(bag, 0, 2, 1, row));
        printf("row 2: %g %g %g\n", row[0], row[1], row[2]);
    }
    TRY(qemb_saver_create(&saver)); /* and out again, under the same keys */
    TRY(qemb_saver_add_module(saver, prefix, bag));
    TRY(qemb_saver_write(saver, "back.safetensors"));
    qemb_saver_destroy(saver);
    qemb_embedding_bag_destroy(bag);
    qemb_context_destroy(ctx);
    qemb_safetensors_close(file);
    return argc <= 2 ? remove("back.safetensors") | remove(path) : 0;
}
