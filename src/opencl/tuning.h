/* tuning.h - measured choices: a small file that `qemb tune` writes, and a table for known classes of devices.
 *
 *   qemb-tune 1
 *   device NAME
 *   STEM dim=64 size=976 quant=1 variant=grouped ahead=40 local=16 rows=32
 *
 * A line holds for launches near it (qemb__tuning_find). The text is anybody's: whatever does not make sense is passed over, numbers are
 * brought into the range that the variant allows, and a variant that does not fit a launch is not taken there. So a wrong, hostile or old
 * file can slow a program and do nothing else. */
#ifndef QEMB_OPENCL_TUNING_H
#define QEMB_OPENCL_TUNING_H

#include "opencl/pick.h"
#include <stddef.h>

enum { QEMB__TUNED_MOST = 256, QEMB__TUNING_BYTES = 1 << 16 };

typedef struct qemb__tuned {
    qemb__case launch; /* stem, dim, size, quant */
    qemb__pick pick;   /* knob < 0: not said */
} qemb__tuned;

typedef struct qemb__tuning {
    int count, ignored; /* lines taken and lines passed over */
    qemb__tuned line[QEMB__TUNED_MOST];
} qemb__tuning;

/* Adds the lines of a text for this device and family to *tuning; none when its head or its device is another. `why` is kept with the picks. */
void qemb__tuning_parse(const char *text, size_t bytes, const char *device, bool is_cpu, const char *why, qemb__tuning *tuning);

/* The nearest line for a launch: the same stem and quant, dim within a factor of 2, size within 16 (row_sort: 2), variant that fits the facts;
 * NULL: none. */
const qemb__tuned *qemb__tuning_find(const qemb__tuning *tuning, const qemb__case *launch, uint32_t facts);

/* $QEMB_TUNE (a path; empty: no file), else $XDG_CONFIG_HOME/qemb/DEVICE.tune, else ~/.config/qemb/DEVICE.tune: then the table for known
 * devices. *tuning is NULL when nothing is known. A file that cannot be read is no error. */
qemb_status qemb__tuning_open(const char *device, const char *platform, bool is_cpu, qemb__tuning **tuning);

#endif
