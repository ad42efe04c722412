/* gradient.h - what bag_backward and row_update share on the host: options, arguments and the launches that come first. */
#ifndef QEMB_OPENCL_GRADIENT_H
#define QEMB_OPENCL_GRADIENT_H

#include "core/training.h"
#include "opencl/opencl.h"

/* The variant for the rows of these tables; kind Q_SGD for bag_backward. */
const qemb__pick *qemb__cl_gradient_pick(qemb_context *ctx, qemb__stem stem, const qemb__tables *tables, int32_t kind);

/* Work-items that share a row in the kernels by lanes; 1 on CPUs. */
int qemb__cl_gradient_lanes(const qemb__pick *pick, const qemb__tables *tables);

/* Whether rows in blocks are a kernel's of their own. */
bool qemb__cl_in_blocks(const qemb__pick *pick);

/* Options of the shared pieces. */
void qemb__cl_gradient_options(const qemb__gradient_args *args, int slabs, char *options, size_t bytes);

/* A kernel of kernels_cl/bag_backward_gpu.cl. */
qemb_status qemb__cl_gradient_kernel(qemb_context *ctx, const qemb__gradient_args *args, int slabs, const char *name, cl_kernel *kernel);

/* The parameters that every gradient kernel starts with, for one group of slabs. */
void qemb__cl_gradient_add(qemb_context *ctx, qemb__cl_args *list, const qemb__gradient_args *args, int32_t group);
q_gradient qemb__cl_gradient_arguments(const qemb__gradient_args *args, int32_t group);

/* Slab pointers that a launch for this group takes. */
int qemb__cl_slabs(const qemb__tables *tables, int32_t group);

/* The widths (bit k: k blocks of 16) whose rows a kernel in blocks takes for this kind; *others: a row of another width exists. CPU family;
 * the GPU family has no such kernels. */
unsigned qemb__cl_block_widths(const qemb__pick *pick, const qemb__tables *tables, int32_t kind, bool *others);

/* A program with bag_backward_cpu.cl, and `body` (NULL: none) behind it, once for each width, then `last`. */
qemb_status qemb__cl_block_kernel(qemb_context *ctx, unsigned widths, const char *body, const char *last, const char *name,
                                  const char *options, cl_kernel *kernel);

/* `items` rows, runs or parts, each shared by `lanes` work-items. */
qemb_status qemb__cl_launch_lanes(qemb_context *ctx, cl_kernel kernel, const qemb__cl_args *list, int64_t items, const qemb__pick *pick,
                                  int lanes);

/* A kernel whose work-items share what there is of up to `items` rows or parts (SHARE): a few hundred items, for any number. */
qemb_status qemb__cl_launch_shares(qemb_context *ctx, cl_kernel kernel, const qemb__cl_args *list, int64_t items);

/* Lookups of bags (mode mean) and parts of long runs, as far as `parts` (Q_PARTS_*) says, before anything asks for a row's gradient. */
qemb_status qemb__cl_gradient_begin(qemb_context *ctx, const qemb__gradient_args *args, q_i32 parts);
/* Compiles what qemb__cl_gradient_begin launches. */
qemb_status qemb__cl_gradient_prepare(qemb_context *ctx, const qemb__gradient_args *args, q_i32 parts);

/* Clip by norm: combines the parts of long runs, then the sums of blocks, from squares[lookups + 1] of the work space on, and unless rows are shared by
 * lanes the coefficient in front of them. */
qemb_status qemb__cl_gradient_norm(qemb_context *ctx, const qemb__gradient_args *args, float limit);

#endif
