// lookup.cc - a C++ caller: destructors instead of destroy calls, exceptions instead of statuses, vectors instead of pointers.
#include <qemb/qemb.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <vector>

static void check(qemb_status status) {
    if (status != QEMB_OK) throw std::runtime_error(qemb_last_error());
}

template <typename T, void (*destroy)(T *)> struct destroyer {
    void operator()(T *object) const { destroy(object); }
};
template <typename T, void (*destroy)(T *)> using owner = std::unique_ptr<T, destroyer<T, destroy>>;

class Embedding {
  public:
    Embedding(const char *device, std::int64_t rows, std::int64_t dim, const qemb_qconfig &qconfig) : dim_(dim) {
        qemb_context *ctx = nullptr;
        check(qemb_context_create(device, &ctx));
        ctx_.reset(ctx);
        qemb_embedding_desc desc = {};
        desc.num_embeddings = rows;
        desc.embedding_dim = dim;
        desc.qconfig = qconfig;
        desc.seed = 7;
        qemb_embedding *table = nullptr;
        check(qemb_embedding_create(ctx, &desc, &table));
        table_.reset(table);
        qemb_batch *batch = nullptr;
        check(qemb_batch_create(ctx, &batch));
        batch_.reset(batch);
    }

    std::vector<float> operator()(const std::vector<std::int64_t> &ids) {
        qemb_input input = {};
        input.indices = ids.data();
        input.num_indices = static_cast<std::int64_t>(ids.size());
        input.indices_dtype = QEMB_INT64;
        check(qemb_batch_set(batch_.get(), qemb_embedding_as_bag(table_.get()), &input));
        std::vector<float> rows(ids.size() * static_cast<std::size_t>(dim_));
        qemb_buffer *out = nullptr;
        check(qemb_buffer_create(ctx_.get(), rows.size() * sizeof(float), &out));
        const owner<qemb_buffer, qemb_buffer_destroy> keeper(out);
        check(qemb_embedding_forward(table_.get(), batch_.get(), out));
        check(qemb_buffer_read(out, 0, rows.size() * sizeof(float), rows.data()));
        return rows;
    }

  private:
    // In this order: what was made from the context goes before it.
    owner<qemb_context, qemb_context_destroy> ctx_;
    owner<qemb_embedding, qemb_embedding_destroy> table_;
    owner<qemb_batch, qemb_batch_destroy> batch_;
    std::int64_t dim_;
};

int main() try {
    Embedding words(nullptr, 50021, 4, qemb_qconfig_8bit());
    for (float x : words({3, 50020})) std::cout << x << ' ';
    std::cout << '\n';
    words({3, 50021}); // one past the end
    return 1;
} catch (const std::exception &error) {
    std::cout << error.what() << '\n';
    return 0;
}
