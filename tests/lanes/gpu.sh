#!/bin/sh
# gpu.sh - every GPU line of src/opencl/variants.inc compiled for GPUs that are not there (tests/gpu_offline.sh), and the report's own test.
# needs: clang-15 clang-15
# needs: /usr/lib/clc/nvptx64--nvidiacl.bc libclc-15
set -u
sh tests/gpu_offline.sh --self-test && sh tests/gpu_offline.sh
