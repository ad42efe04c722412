// consumer.cc - the same in C++, with the library's objects in unique_ptr.
#include <qemb/qemb.h>
#include <qemb/qemb_io.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

template <typename T, void (*destroy)(T *)> struct deleter {
    void operator()(T *object) const { destroy(object); }
};
template <typename T, void (*destroy)(T *)> using owner = std::unique_ptr<T, deleter<T, destroy>>;

static void check(qemb_status status) {
    if (status != QEMB_OK) {
        std::printf("%s\n", qemb_last_error());
        std::exit(status == QEMB_ERR_DEVICE ? 3 : 1);
    }
}

int main(int argc, char **argv) {
    const std::vector<float> weight = {1, 2, 3, 4, 5, 6};
    const std::vector<std::int64_t> ids = {0, 2}, offsets = {0};
    std::vector<float> out(2);
    qemb_context *c = nullptr;
    check(qemb_context_create(argc > 1 ? argv[1] : nullptr, &c));
    owner<qemb_context, qemb_context_destroy> ctx(c);
    qemb_embedding_bag_desc desc = {};
    desc.num_embeddings = 3;
    desc.embedding_dim = 2;
    desc.mode = QEMB_MODE_SUM;
    desc.weight = weight.data();
    desc.qconfig = qemb_qconfig_8bit();
    qemb_embedding_bag *b = nullptr;
    check(qemb_embedding_bag_create(ctx.get(), &desc, &b));
    owner<qemb_embedding_bag, qemb_embedding_bag_destroy> bag(b);
    qemb_batch *t = nullptr;
    check(qemb_batch_create(ctx.get(), &t));
    owner<qemb_batch, qemb_batch_destroy> batch(t);
    qemb_input input = {};
    input.indices = ids.data();
    input.num_indices = 2;
    input.indices_dtype = QEMB_INT64;
    input.offsets = offsets.data();
    input.num_offsets = 1;
    check(qemb_batch_set(batch.get(), bag.get(), &input));
    qemb_buffer *u = nullptr;
    check(qemb_buffer_create(ctx.get(), out.size() * sizeof(float), &u));
    owner<qemb_buffer, qemb_buffer_destroy> buffer(u);
    check(qemb_embedding_bag_forward(bag.get(), batch.get(), buffer.get()));
    check(qemb_buffer_read(buffer.get(), 0, out.size() * sizeof(float), out.data()));
    std::printf("%.3f %.3f\n", out[0], out[1]);
    return std::strcmp(qemb_version(), QEMB_VERSION_STRING) != 0;
}
