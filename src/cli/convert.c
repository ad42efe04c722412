/* convert.c - `qemb convert`: float tables of a safetensors file to packed ones. */
#include "bench.h"
#include "cli.h"

#include <getopt.h>
#include <jansson.h>
#include <qemb/qemb_io.h>
#include <string.h>
#include <sys/stat.h>

static const char help[] = "usage: qemb convert IN.safetensors --bits 8|4|2 -o OUT.safetensors [options]\n"
                           "\n"
                           "Packs the embedding tables of a state dict, of PyTorch or of this library, or packs packed tables\n"
                           "anew.\n"
                           "\n"
                           "  --bits N            width of a code: 8, 4 or 2\n"
                           "  --layout L          planar (default), torch_rowwise, rowwise_half or fbgemm\n"
                           "  --qparams Q         planar: bf16 (default), fp32, or pow2 (scale a power of two)\n"
                           "  --symmetric         planar: no bias is stored\n"
                           "  --row-alignment N   fbgemm: 1 or 16 bytes\n"
                           "  --method M          minmax (default), greedy, or observer (the file's min_val and max_val, as\n"
                           "                      torch's convert)\n"
                           "  --prefix P          only tables whose keys start with P\n"
                           "  --mode M            sum, mean (default), max or none, where the file does not say\n"
                           "  --padding-idx N     likewise; --max-norm X likewise\n"
                           "  --as-peer           store infinite fp16 scales as PyTorch and FBGEMM do, instead of refusing\n"
                           "  --keep              copy the other tensors too\n"
                           "  --device D          where to pack (`qemb devices`)\n"
                           "  --json              the files and their bytes as an object\n"
                           "  -o FILE             the new file; it appears whole or not at all\n"
                           "\n"
                           "exit codes: 0 done; 1 a file or a row was refused, the sentence says where and why;\n"
                           "            2 wrong command line\n";

typedef struct options {
    const char *in, *out, *device;
    qemb_convert_desc desc;
    bool has_bits, has_qparams, json;
} options;

enum { BITS = 256, LAYOUT, QPARAMS, SYMMETRIC, ALIGNMENT, METHOD, PREFIX, MODE, PADDING, NORM, PEER, KEEP, DEVICE, JSON };

static const struct option words[] = {{"bits", required_argument, NULL, BITS},
                                      {"layout", required_argument, NULL, LAYOUT},
                                      {"qparams", required_argument, NULL, QPARAMS},
                                      {"symmetric", no_argument, NULL, SYMMETRIC},
                                      {"row-alignment", required_argument, NULL, ALIGNMENT},
                                      {"method", required_argument, NULL, METHOD},
                                      {"prefix", required_argument, NULL, PREFIX},
                                      {"mode", required_argument, NULL, MODE},
                                      {"padding-idx", required_argument, NULL, PADDING},
                                      {"max-norm", required_argument, NULL, NORM},
                                      {"as-peer", no_argument, NULL, PEER},
                                      {"keep", no_argument, NULL, KEEP},
                                      {"device", required_argument, NULL, DEVICE},
                                      {"json", no_argument, NULL, JSON},
                                      {"help", no_argument, NULL, 'h'},
                                      {0}};

static int bad_value(const char *option, const char *wanted) {
    return cli_usage("convert", "%s is \"%s\", want %s", option, optarg, wanted);
}

/* Options with a word or a number. CLI_DONE when taken. */
static int take_value(options *o, int c) {
    static const char *const methods[] = {"minmax", "observer", "greedy", NULL};
    static const char *const modes[] = {"mean", "sum", "max", "none", NULL};
    int64_t n = 0;
    double x = 0.0;
    int k = 0;
    switch (c) {
    case BITS:
        o->has_bits = cli_integer(optarg, 2, 8, &n) && (n == 2 || n == 4 || n == 8);
        o->desc.format.bits = (int32_t)n;
        return o->has_bits ? CLI_DONE : bad_value("--bits", "8, 4 or 2");
    case LAYOUT:
        k = cli_choice(optarg, bench_layouts);
        o->desc.format.layout = (qemb_layout)(k < 0 ? 0 : k);
        return k >= 0 ? CLI_DONE : bad_value("--layout", "planar, torch_rowwise, rowwise_half or fbgemm");
    case QPARAMS:
        k = cli_choice(optarg, bench_qparams);
        o->has_qparams = true;
        o->desc.format.qparams = (qemb_qparams)(k < 0 ? 0 : k);
        return k >= 0 ? CLI_DONE : bad_value("--qparams", "fp32, bf16 or pow2");
    case ALIGNMENT:
        k = cli_integer(optarg, 1, 16, &n) && (n == 1 || n == 16);
        o->desc.format.row_alignment = (int32_t)n;
        return k ? CLI_DONE : bad_value("--row-alignment", "1 or 16");
    case METHOD:
        k = cli_choice(optarg, methods);
        o->desc.method = (qemb_pack_method)(k < 0 ? 0 : k);
        return k >= 0 ? CLI_DONE : bad_value("--method", "minmax, greedy or observer");
    case MODE:
        k = cli_choice(optarg, modes);
        o->desc.unpooled = k == 3;
        o->desc.options.mode = (qemb_mode)(k < 0 || k == 3 ? 0 : k);
        return k >= 0 ? CLI_DONE : bad_value("--mode", "sum, mean, max or none");
    case PADDING:
        o->desc.has_padding_idx = cli_integer(optarg, -INT64_MAX, INT64_MAX, &o->desc.padding_idx);
        return o->desc.has_padding_idx ? CLI_DONE : bad_value("--padding-idx", "a row's number");
    default:
        o->desc.has_max_norm = cli_real(optarg, 0.0, 3e38, &x);
        o->desc.max_norm = (float)x;
        return o->desc.has_max_norm ? CLI_DONE : bad_value("--max-norm", "a number >= 0");
    }
}

/* CLI_DONE, an exit code, or -1 for help. */
static int parse(int argc, char **argv, options *o) {
    opterr = 0;
    for (int c = 0; (c = getopt_long(argc, argv, ":ho:", words, NULL)) != -1;) {
        int code = CLI_DONE;
        switch (c) {
        case 'h':
            return -1;
        case 'o':
            o->out = optarg;
            break;
        case PREFIX:
            o->desc.prefix = optarg;
            break;
        case DEVICE:
            o->device = optarg;
            break;
        case JSON:
            o->json = true;
            break;
        case SYMMETRIC:
            o->desc.format.symmetric = true;
            break;
        case PEER:
            o->desc.flags |= QEMB_PACK_AS_PEER;
            break;
        case KEEP:
            o->desc.keep = true;
            break;
        case '?':
        case ':':
            return cli_bad_option("convert", argv, c);
        default:
            code = take_value(o, c);
        }
        if (code != CLI_DONE) {
            return code;
        }
    }
    const bool planar = o->desc.format.layout == QEMB_LAYOUT_PLANAR;
    o->in = optind < argc ? argv[optind] : NULL;
    if (!o->in || optind + 1 < argc) {
        return o->in ? cli_usage("convert", "unexpected \"%s\"", argv[optind + 1]) : cli_usage("convert", "which file?");
    }
    if (!o->has_bits || !o->out) {
        return cli_usage("convert", "%s is missing", o->out ? "--bits" : "-o");
    }
    if (!planar && (o->has_qparams || o->desc.format.symmetric)) {
        return cli_usage("convert", "--qparams and --symmetric belong to --layout planar");
    }
    o->desc.format.qparams = planar && !o->has_qparams ? QEMB_QPARAMS_BF16 : o->desc.format.qparams;
    return CLI_DONE;
}

static bool progress(void *user, int64_t done, int64_t total) {
    cli_progress_at(user, done, total);
    return true;
}

/* Packed tables in another format. */
static qemb_status repack(qemb_context *ctx, qemb_safetensors *file, const options *o) {
    qemb_packed *from = NULL;
    qemb_packed *to = NULL;
    qemb_saver *saver = NULL;
    qemb_status st = qemb_load_packed(ctx, file, o->desc.prefix, QEMB_LOAD_VERIFY, &from);
    if (st == QEMB_OK) {
        st = qemb_packed_convert(from, &o->desc.format, o->desc.flags, &to);
    }
    if (st == QEMB_OK && (st = qemb_saver_create(&saver)) == QEMB_OK &&
        (st = qemb_saver_add_packed(saver, o->desc.prefix, to)) == QEMB_OK) {
        st = qemb_saver_write(saver, o->out);
    }
    qemb_saver_destroy(saver);
    qemb_packed_destroy(to);
    qemb_packed_destroy(from);
    return st;
}

static bool is_packed(const qemb_safetensors *file, const char *prefix) {
    char key[1200];
    (void)snprintf(key, sizeof key, "%sqemb_packed", prefix ? prefix : "");
    return qemb_safetensors_metadata(file, key) != NULL;
}

static qemb_status convert(const options *o) {
    qemb_context *ctx = NULL;
    qemb_safetensors *file = NULL;
    cli_progress bar;
    qemb_convert_desc desc = o->desc;
    desc.progress = progress;
    desc.user = &bar;
    qemb_status st = qemb_safetensors_open(o->in, &file);
    if (st == QEMB_OK && (st = qemb_context_create(o->device, &ctx)) == QEMB_OK) {
        cli_progress_begin(&bar, "packing");
        st = is_packed(file, o->desc.prefix) ? repack(ctx, file, o) : qemb_convert(ctx, file, &desc, o->out);
        cli_progress_end(&bar);
    }
    qemb_safetensors_close(file);
    qemb_context_destroy(ctx);
    return st;
}

static void print(const options *o) {
    struct stat before, after;
    char size[2][24];
    if (stat(o->in, &before) != 0 || stat(o->out, &after) != 0) {
        return;
    }
    if (o->json) {
        cli_print_object(json_pack("{s:s, s:s, s:I, s:i, s:s, s:I}", "op", "convert", "file", o->out, "bytes", (json_int_t)after.st_size,
                                   "bits", (int)o->desc.format.bits, "from", o->in, "from_bytes", (json_int_t)before.st_size),
                         0);
        return;
    }
    (void)printf("%s: %s, from %s (%.1f %%)\n", o->out, cli_size((double)after.st_size, size[0]), cli_size((double)before.st_size, size[1]),
                 100.0 * (double)after.st_size / (double)before.st_size);
}

int cli_convert(int argc, char **argv) {
    options o = {.desc = {.format = {.layout = QEMB_LAYOUT_PLANAR}}};
    const int code = parse(argc, argv, &o);
    if (code != CLI_DONE) {
        return code < 0 ? (void)fputs(help, stdout), CLI_DONE : code;
    }
    if (convert(&o) != QEMB_OK) {
        return cli_failed("convert", qemb_last_error());
    }
    print(&o);
    return CLI_DONE;
}
