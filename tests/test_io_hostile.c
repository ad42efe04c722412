/* test_io_hostile.c - a saved training, its header damaged in every field by every kind of bad value, and every bit of a small file flipped:
 * refused with a status and a sentence, at once, in little memory, and nothing has changed. */
#include <criterion/criterion.h>

#include <fcntl.h>
#include <malloc.h>
#include <qemb/qemb_io.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "scoreboard.h"
#include "support_files.h"
#include "support_time.h"
#include "support_ok.h"

TestSuite(io_hostile, .init = support_folder_create, .fini = support_folder_remove);

enum { ROWS = 7, DIM = 5, ROOM = 1 << 14 };

typedef struct scene {
    qemb_context *ctx;
    qemb_embedding_bag *bag;
    qemb_optimizer *optimizer;
    qemb_packed *packed;
    float before[ROWS * DIM];
    char *bytes; /* of the good file */
    size_t count;
    int64_t files, refused, wrong;
    double slowest;
    int64_t most_memory;
} scene;

static void train(scene *s) {
    static const int64_t ids[] = {0, 4, 2, 6, 2}, offsets[] = {0, 3};
    float grad[2 * DIM];
    qemb_batch *batch = NULL;
    qemb_buffer *out = NULL;
    for (int i = 0; i < 2 * DIM; i++) {
        grad[i] = (float)(i + 1) / 8.0f;
    }
    OK(qemb_batch_create(s->ctx, &batch));
    OK(qemb_buffer_create(s->ctx, sizeof grad, &out));
    OK(qemb_batch_set(batch, s->bag,
                      &(qemb_input){.indices = ids, .num_indices = 5, .indices_dtype = QEMB_INT64, .offsets = offsets, .num_offsets = 2}));
    OK(qemb_embedding_bag_forward(s->bag, batch, out));
    OK(qemb_buffer_write(out, 0, sizeof grad, grad));
    OK(qemb_embedding_bag_step(s->bag, batch, out, s->optimizer));
    qemb_buffer_destroy(out);
    qemb_batch_destroy(batch);
}

static void open_scene(scene *s, bool all) {
    qemb_saver *saver = NULL;
    const char *path = support_path("good");
    OK(qemb_context_create("reference", &s->ctx));
    OK(qemb_embedding_bag_create(
        s->ctx, &(qemb_embedding_bag_desc){.num_embeddings = ROWS, .embedding_dim = DIM, .qconfig = qemb_qconfig_8bit(), .seed = 3},
        &s->bag));
    OK(qemb_optimizer_create(s->ctx, s->bag, &(qemb_optimizer_desc){.kind = QEMB_ADAM, .lr = 0.125}, &s->optimizer));
    train(s);
    OK(qemb_packed_create(s->bag, NULL, &s->packed));
    OK(qemb_embedding_bag_read_weight(s->bag, 0, 0, ROWS, s->before));
    OK(qemb_saver_create(&saver));
    OK(qemb_saver_add_module(saver, "m.", s->bag));
    if (all) {
        OK(qemb_saver_add_optimizer(saver, "o.", s->optimizer));
        OK(qemb_saver_add_packed(saver, "p.", s->packed));
    }
    OK(qemb_saver_write(saver, path));
    qemb_saver_destroy(saver);
    s->bytes = support_read(path, &s->count);
    cr_assert(s->bytes && s->count < ROOM);
}

static void close_scene(scene *s) {
    free(s->bytes);
    qemb_packed_destroy(s->packed);
    qemb_optimizer_destroy(s->optimizer);
    qemb_embedding_bag_destroy(s->bag);
    qemb_context_destroy(s->ctx);
}

static bool is_class(qemb_status st) {
    return st == QEMB_ERR_CORRUPT || st == QEMB_ERR_UNSUPPORTED || st == QEMB_ERR_ARG || st == QEMB_ERR_SHAPE || st == QEMB_ERR_DTYPE ||
           st == QEMB_ERR_RANGE || st == QEMB_ERR_OVERFLOW || st == QEMB_ERR_STATE;
}

/* All that there is to load. The first refusal, or OK. */
static qemb_status load_all(scene *s, const char *path, bool *changed) {
    qemb_safetensors *file = NULL;
    qemb_packed *packed = NULL;
    float after[ROWS * DIM];
    qemb_status st = qemb_safetensors_open(path, &file);
    if (st == QEMB_OK) {
        st = qemb_load_module(file, "m.", s->bag);
        const qemb_status module = st;
        st = st == QEMB_OK ? qemb_load_optimizer(file, "o.", s->optimizer) : st;
        st = st == QEMB_OK ? qemb_load_packed(s->ctx, file, "p.", QEMB_LOAD_VERIFY, &packed) : st;
        char says[300];
        (void)snprintf(says, sizeof says, "%s", qemb_last_error());
        OK(qemb_embedding_bag_read_weight(s->bag, 0, 0, ROWS, after));
        *changed = module != QEMB_OK && memcmp(after, s->before, sizeof after) != 0;
        qemb_packed_destroy(packed);
        st = st != QEMB_OK && !says[0] ? QEMB_ERR_STATE + 1000 : st; /* a refusal without a sentence is of no class */
    }
    qemb_safetensors_close(file);
    return st;
}

/* The good file with [from, from + length) of its header replaced; its checksum under a key that nobody reads. */
static void judge(scene *s, const char *what, const char *from, size_t length, const char *to) {
    static char damaged[ROOM + 4096];
    uint64_t header = 0;
    const size_t at = (size_t)(from - s->bytes), more = strlen(to);
    memcpy(&header, s->bytes, 8);
    memcpy(damaged, s->bytes, at);
    memcpy(damaged + at, to, more);
    memcpy(damaged + at + more, from + length, s->count - at - length);
    header += more - length;
    memcpy(damaged, &header, 8);
    char *key = memmem(damaged, header, QEMB_FILE_CHECKSUM_KEY, strlen(QEMB_FILE_CHECKSUM_KEY));
    if (key) {
        key[0] = 'Q';
    }
    const char *path = support_write("damaged", damaged, s->count + more - length);
    const size_t memory = mallinfo2().uordblks;
    const double began = support_processor_seconds();
    bool changed = false;
    const qemb_status st = load_all(s, path, &changed);
    const double taken = support_processor_seconds() - began;
    const int64_t kept = (int64_t)mallinfo2().uordblks - (int64_t)memory;
    s->slowest = taken > s->slowest ? taken : s->slowest;
    s->most_memory = kept > s->most_memory ? kept : s->most_memory;
    s->files++;
    s->refused += st != QEMB_OK;
    if (st == QEMB_OK || !is_class(st) || changed || taken > 1.0 || kept > 4096) {
        s->wrong++;
        cr_expect(false, "%s at byte %zu, %.*s -> %s: %s (%s)%s, %.3f s, %lld bytes kept", what, at, (int)(length < 40 ? length : 40), from,
                  to, qemb_status_name(st), qemb_last_error(), changed ? ", the table changed" : "", taken, (long long)kept);
        OK(qemb_embedding_bag_write_weight(s->bag, 0, 0, ROWS, s->before));
    }
}

/* Every value behind `mark` that ends before one of `ends`, replaced by every bad one. */
static void spoil(scene *s, const char *mark, const char *ends, const char *const *bad, int count) {
    uint64_t header = 0;
    memcpy(&header, s->bytes, 8);
    const char *end = s->bytes + 8 + header;
    for (const char *at = s->bytes + 8; (at = memmem(at, (size_t)(end - at), mark, strlen(mark))) != NULL;) {
        at += strlen(mark);
        const size_t length = strcspn(at, ends);
        for (int k = 0; k < count; k++) {
            if (strlen(bad[k]) != length || strncmp(bad[k], at, length) != 0) {
                judge(s, mark, at, length, bad[k]);
            }
        }
    }
}

static bool is_real(const char *word) {
    static const char *const reals[] = {"averaging_constant=", "max_norm=", "norm_type=", "lr="};
    bool found = false;
    for (size_t k = 0; k < sizeof reals / sizeof *reals; k++) {
        found = found || strncmp(word, reals[k], strlen(reals[k])) == 0;
    }
    return found;
}

/* Every `name=value` of the texts that are read, its value replaced by what no field takes. Of the reals the last two are some: infinite where
 * nothing else forbids it, and large. What qemb_module says is for people, and read by nobody. */
static void spoil_texts(scene *s) {
    static const char *const bad[] = {"", "x", "nan", "1 1", "0x", "--1", "1e999", "99999999999999999999"};
    uint64_t header = 0;
    memcpy(&header, s->bytes, 8);
    const char *for_people = memmem(s->bytes, s->count, "m.qemb_module\":\"", 16);
    cr_assert_not_null(for_people);
    const char *read_again = strchr(for_people + 16, '"');
    for (const char *at = s->bytes + 8; at < s->bytes + 8 + header; at++) {
        const char *word = at;
        while (word > s->bytes && (word[-1] == '_' || (word[-1] >= 'a' && word[-1] <= 'z'))) {
            word--;
        }
        if (*at != '=' || word == at || strncmp(word, "name=", 5) == 0 || (at > for_people && at < read_again)) {
            continue;
        }
        const size_t length = strcspn(at + 1, " \""), count = sizeof bad / sizeof *bad;
        for (size_t k = length == 0; k < (is_real(word) ? count - 2 : count); k++) {
            judge(s, "text", at + 1, length, bad[k]);
        }
    }
}

#define SPOIL(mark, ends, ...)                                                                                                             \
    spoil(&s, mark, ends, (const char *const[]){__VA_ARGS__}, (int)(sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *)))

Test(io_hostile, every_field_of_a_saved_training_with_every_bad_value_is_refused, .timeout = 300) {
    scene s = {0};
    open_scene(&s, true);
    SPOIL("\"dtype\":", ",}", "\"\"", "\"F31\"", "\"f32\"", "\"BF16\"", "\"F8_E4M3\"", "\"C64\"", "5", "null", "true", "[]", "{}", "\"F32",
          "F32");
    SPOIL("\"shape\":[", "]", "-1", "0", "7,5,1", "5,7,2", "1.5", "7.0", "1e1", "9223372036854775807", "9223372036854775808,2",
          "4294967296,4294967296", "\"7\"", "null", "[7]", "7,", ",7", "1,1,1,1,1,1,1,1,1", "07");
    SPOIL("\"data_offsets\":[", "]", "0", "0,1,2", "1,0", "-4,0", "0,9223372036854775807", "9223372036854775807,9223372036854775807",
          "18446744073709551616,18446744073709551620", "0.0,4.0", "\"0\",\"4\"", "null,null", "0,", "", "4294967296,4294967300");
    spoil_texts(&s);
    (void)printf("%lld hostile files, %lld refused, %lld answered wrongly; slowest %.1f ms, most memory kept %lld bytes\n",
                 (long long)s.files, (long long)s.refused, (long long)s.wrong, s.slowest * 1e3, (long long)s.most_memory);
    scoreboard("R8", s.wrong == 0 && s.files >= 500, "a saved training, every field with every bad value",
               "%lld files, %lld refused, slowest %.1f ms", (long long)s.files, (long long)s.refused, s.slowest * 1e3);
    cr_assert_geq(s.files, 500);
    cr_assert_eq(s.wrong, 0);
    bool changed = false;
    OK(load_all(&s, support_path("good"), &changed)); /* and the good file still loads */
    close_scene(&s);
}

Test(io_hostile, every_flipped_bit_of_a_small_file_is_noticed, .timeout = 300) {
    scene s = {0};
    open_scene(&s, false);
    const int fd = open(support_path("good"), O_WRONLY);
    int64_t noticed = 0, by_checksum = 0;
    cr_assert_geq(fd, 0);
    for (size_t bit = 0; bit < 8 * s.count; bit++) {
        const char flipped = (char)(s.bytes[bit / 8] ^ 1 << bit % 8);
        qemb_safetensors *file = NULL;
        cr_assert_eq(pwrite(fd, &flipped, 1, (off_t)(bit / 8)), 1);
        qemb_status st = qemb_safetensors_open(support_path("good"), &file);
        if (st == QEMB_OK) {
            st = qemb_safetensors_verify(file);
            by_checksum += st != QEMB_OK;
        }
        noticed += st == QEMB_ERR_CORRUPT || st == QEMB_ERR_UNSUPPORTED;
        cr_expect(st != QEMB_OK, "bit %zu of byte %zu flipped, and nobody noticed", bit % 8, bit / 8);
        qemb_safetensors_close(file);
        cr_assert_eq(pwrite(fd, &s.bytes[bit / 8], 1, (off_t)(bit / 8)), 1);
    }
    (void)close(fd);
    (void)printf("%zu flipped bits, %lld noticed, %lld of them by the checksum\n", 8 * s.count, (long long)noticed, (long long)by_checksum);
    scoreboard("R8", noticed == (int64_t)(8 * s.count), "every bit of a saved module", "%zu flipped bits, %lld noticed", 8 * s.count,
               (long long)noticed);
    cr_assert_eq(noticed, (int64_t)(8 * s.count));
    close_scene(&s);
}
