/* fuzz_device.c - any text as the name of a device: a context, or DEVICE with a sentence that lists what there is. */
#include "fuzz.h"

int fuzz_device(const uint8_t *bytes, size_t count) {
    char name[300] = "";
    qemb_context *ctx = NULL;
    memcpy(name, bytes, count < sizeof name ? count : sizeof name - 1);
    qemb_status st = qemb_context_create(name, &ctx);
    PROMISE((st == QEMB_OK) == (ctx != NULL));
    PROMISE(st == QEMB_OK || (st == QEMB_ERR_DEVICE && strstr(qemb_last_error(), "reference")));
    PROMISE(strcmp(name, "reference") != 0 || st == QEMB_OK);
    qemb_context_destroy(ctx);
    return 0;
}
