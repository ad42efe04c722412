/* soak.c - train, save, load, convert, serve, again and again: the same numbers in every round, and nothing grows.
 *
 *   soak [SECONDS [DEVICE]]
 *
 * After a warm-up every round must give the bits of the first; memory in use (the heap's own count and the process's resident set), open
 * file descriptors and, on the library's count, device buffers must end where they began: at most 64 KiB an hour of heap on average. */
#include <dirent.h>
#include <malloc.h>
#include <qemb/qemb_io.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "scoreboard.h"

enum { ROWS = 211, DIM = 19, BAGS = 13, LOOKUPS = 97, STEPS = 5, WARM = 4 };

#define DO(call)                                                                                                                           \
    do {                                                                                                                                   \
        if ((call) != QEMB_OK) {                                                                                                           \
            (void)fprintf(stderr, "soak: %s: %s\n", #call, qemb_last_error());                                                             \
            exit(1);                                                                                                                       \
        }                                                                                                                                  \
    } while (0)

static uint64_t hash(uint64_t h, const void *data, size_t bytes) {
    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ ((const unsigned char *)data)[i]) * UINT64_C(0x100000001B3);
    }
    return h;
}

static double seconds(void) {
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static int64_t resident(void) {
    long long pages = 0, size = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file) {
        if (fscanf(file, "%lld %lld", &size, &pages) != 2) {
            pages = 0;
        }
        (void)fclose(file);
    }
    return pages * sysconf(_SC_PAGESIZE);
}

static int descriptors(void) {
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder)) {
        count++;
    }
    if (folder) {
        (void)closedir(folder);
    }
    return count;
}

typedef struct scene {
    qemb_context *ctx;
    qemb_batch *batch;
    qemb_buffer *out, *grad;
    int64_t ids[LOOKUPS], offsets[BAGS];
    float result[BAGS * DIM];
    qemb_input input;
    char path[256];
    int64_t calls;
} scene;

static uint64_t forward_steps(scene *s, qemb_embedding_bag *bag, qemb_optimizer *optimizer, uint64_t h) {
    for (int i = 0; i < STEPS; i++) {
        DO(qemb_batch_set(s->batch, bag, &s->input));
        DO(qemb_embedding_bag_forward(bag, s->batch, s->out));
        DO(qemb_embedding_bag_step(bag, s->batch, s->grad, optimizer));
        DO(qemb_buffer_read(s->out, 0, sizeof s->result, s->result));
        h = hash(h, s->result, sizeof s->result);
        s->calls += 4;
    }
    return h;
}

static uint64_t serve(scene *s, uint64_t h) {
    qemb_safetensors *file = NULL;
    qemb_packed *packed = NULL;
    DO(qemb_safetensors_open(s->path, &file));
    DO(qemb_load_packed(s->ctx, file, "packed.", QEMB_LOAD_VERIFY, &packed));
    qemb_safetensors_close(file);
    DO(qemb_packed_batch_set(packed, s->batch, &s->input));
    DO(qemb_packed_forward(packed, s->batch, s->out, QEMB_FLOAT32));
    DO(qemb_buffer_read(s->out, 0, sizeof s->result, s->result));
    qemb_packed_destroy(packed);
    s->calls += 7;
    return hash(h, s->result, sizeof s->result);
}

/* Trains, saves, goes on in a fresh module from the file, packs, serves from the file. */
static uint64_t one_round(scene *s) {
    qemb_embedding_bag *bag = NULL, *fresh = NULL;
    qemb_optimizer *optimizer = NULL, *resumed = NULL;
    qemb_packed *packed = NULL;
    qemb_saver *saver = NULL;
    qemb_safetensors *file = NULL;
    const qemb_embedding_bag_desc desc = {
        .num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_8bit(), .seed = 7, .mode = QEMB_MODE_SUM};
    const qemb_optimizer_desc update = {.kind = QEMB_ADAM, .lr = 0.01};
    DO(qemb_embedding_bag_create(s->ctx, &desc, &bag));
    DO(qemb_optimizer_create(s->ctx, bag, &update, &optimizer));
    uint64_t h = forward_steps(s, bag, optimizer, UINT64_C(0xCBF29CE484222325));
    DO(qemb_packed_create(bag, &(qemb_packed_desc){.format = {.layout = QEMB_LAYOUT_PLANAR, .bits = 4}}, &packed));
    DO(qemb_saver_create(&saver));
    DO(qemb_saver_add_module(saver, "module.", bag));
    DO(qemb_saver_add_optimizer(saver, "optimizer.", optimizer));
    DO(qemb_saver_add_packed(saver, "packed.", packed));
    DO(qemb_saver_write(saver, s->path));
    qemb_saver_destroy(saver);
    qemb_packed_destroy(packed);
    DO(qemb_embedding_bag_create(s->ctx, &desc, &fresh));
    DO(qemb_optimizer_create(s->ctx, fresh, &update, &resumed));
    DO(qemb_safetensors_open(s->path, &file));
    DO(qemb_load_module(file, "module.", fresh));
    DO(qemb_load_optimizer(file, "optimizer.", resumed));
    qemb_safetensors_close(file);
    uint64_t on = forward_steps(s, bag, optimizer, h), again = forward_steps(s, fresh, resumed, h);
    if (on != again) {
        (void)fprintf(stderr, "soak: the resumed training gives other bits\n");
        exit(1);
    }
    qemb_optimizer_destroy(optimizer);
    qemb_optimizer_destroy(resumed);
    qemb_embedding_bag_destroy(bag);
    qemb_embedding_bag_destroy(fresh);
    s->calls += 20;
    return serve(s, on);
}

static void open_scene(scene *s, const char *device) {
    float grad[BAGS * DIM];
    const char *base = getenv("TMPDIR");
    DO(qemb_context_create(device, &s->ctx));
    DO(qemb_batch_create(s->ctx, &s->batch));
    DO(qemb_buffer_create(s->ctx, sizeof grad, &s->out));
    DO(qemb_buffer_create(s->ctx, sizeof grad, &s->grad));
    for (int i = 0; i < LOOKUPS; i++) {
        s->ids[i] = (i * 37 + i / 7) % ROWS;
    }
    for (int b = 0; b < BAGS; b++) {
        s->offsets[b] = b * LOOKUPS / BAGS;
    }
    for (int i = 0; i < BAGS * DIM; i++) {
        grad[i] = (float)(i % 11 - 5) / 16.0f;
    }
    DO(qemb_buffer_write(s->grad, 0, sizeof grad, grad));
    s->input =
        (qemb_input){.indices = s->ids, .num_indices = LOOKUPS, .indices_dtype = QEMB_INT64, .offsets = s->offsets, .num_offsets = BAGS};
    (void)snprintf(s->path, sizeof s->path, "%.200s/qemb_soak_%d.safetensors", base && *base ? base : "/tmp", (int)getpid());
}

int main(int argc, char **argv) {
    /* mallinfo counts what glibc keeps for each thread as if it were in use: kept off, and the heap is exact. */
    if (!getenv("GLIBC_TUNABLES") && setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=0", 1) == 0) {
        (void)execv("/proc/self/exe", argv);
    }
    double limit = argc > 1 ? atof(argv[1]) : 10, began = seconds();
    const char *device = argc > 2 ? argv[2] : NULL;
    static scene s;
    open_scene(&s, device);
    uint64_t first = one_round(&s);
    for (int i = 0; i < WARM; i++) {
        (void)one_round(&s);
    }
    int64_t rounds = 0, differ = 0, memory = resident();
    size_t heap = mallinfo2().uordblks;
    int open_files = descriptors();
    double from = seconds();
    bool leaks = getenv("QEMB_SOAK_LEAK") != NULL; /* tests/lanes/planted.sh: does it bite? */
    while (seconds() - began < limit || rounds < WARM) {
        void *volatile lost = leaks ? malloc(100) : NULL;
        (void)lost;
        differ += one_round(&s) != first;
        rounds++;
    }
    double hours = (seconds() - from) / 3600;
    /* A driver's thread may give objects back a little after their last use; what is lost stays lost. */
    for (int tries = 0; tries < 200 && (int64_t)mallinfo2().uordblks > (int64_t)heap + 4096; tries++) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    int64_t grown = (int64_t)mallinfo2().uordblks - (int64_t)heap, resident_grown = resident() - memory;
    int more_files = descriptors() - open_files;
    (void)unlink(s.path);
    qemb_buffer_destroy(s.out);
    qemb_buffer_destroy(s.grad);
    qemb_batch_destroy(s.batch);
    qemb_context_destroy(s.ctx);
    /* A short run is allowed the noise of a driver's own bookkeeping; a leak of one object a round is not. */
    bool flat = grown <= 16384 + (int64_t)(65536 * hours) && more_files == 0 && grown <= 4096 + rounds * 8 && differ == 0;
    (void)printf("soak: %.0f s, %lld rounds, %lld calls, %lld differ; heap %+lld bytes, resident %+lld, descriptors %+d: %s\n",
                 seconds() - began, (long long)rounds, (long long)s.calls, (long long)differ, (long long)grown, (long long)resident_grown,
                 more_files, flat ? "flat" : "NOT FLAT");
    scoreboard("R23", flat, device ? device : "OpenCL",
               "%.3f h, %lld calls, %lld rounds differ, heap %+lld bytes, resident %+lld, descriptors %+d", hours, (long long)s.calls,
               (long long)differ, (long long)grown, (long long)resident_grown, more_files);
    return flat ? 0 : 1;
}
