/* builtins.h - the built-in functions of OpenCL C that qemb's kernels call, for kernels compiled by clang for the processor itself.
 *
 * Included before the kernels' text instead of clang's own header: inline, so that the sanitizers see every load and store. A built-in
 * that is not here does not compile; add it. Vectors go element by element, as the language says. */
#define I static inline __attribute__((overloadable, always_inline))

uint native_work_dim(void);
ulong native_global_id(uint);
ulong native_local_id(uint);
ulong native_group_id(uint);
ulong native_global_size(uint);
ulong native_local_size(uint);
void native_barrier(void);
#define get_work_dim native_work_dim
#define get_global_id native_global_id
#define get_local_id native_local_id
#define get_group_id native_group_id
#define get_global_size native_global_size
#define get_local_size native_local_size
#define get_num_groups(d) (native_global_size(d) / native_local_size(d))
#define barrier(flags) ((void)(flags), native_barrier())
#define mem_fence(flags) ((void)(flags))

/* ---- loads and stores at an element's own alignment */
#define LOAD_STORE(T, n)                                                                                                                  \
    typedef T##n T##n##_here __attribute__((aligned(sizeof(T))));                                                                         \
    I T##n vload##n(const ulong at, const __global T *p) { return *(const __global T##n##_here *)(p + at * n); }                          \
    I T##n vload##n(const ulong at, const __private T *p) { return *(const __private T##n##_here *)(p + at * n); }                        \
    I T##n vload##n(const ulong at, const __local T *p) { return *(const __local T##n##_here *)(p + at * n); }                            \
    I void vstore##n(const T##n v, const ulong at, __global T *p) { *(__global T##n##_here *)(p + at * n) = v; }                          \
    I void vstore##n(const T##n v, const ulong at, __private T *p) { *(__private T##n##_here *)(p + at * n) = v; }                        \
    I void vstore##n(const T##n v, const ulong at, __local T *p) { *(__local T##n##_here *)(p + at * n) = v; }
#define LOADS_STORES(T) LOAD_STORE(T, 2) LOAD_STORE(T, 4) LOAD_STORE(T, 8) LOAD_STORE(T, 16)
LOADS_STORES(float)
LOADS_STORES(int)
LOADS_STORES(uint)
LOADS_STORES(uchar)
LOADS_STORES(ushort)

/* ---- arithmetic */
#define EACH1(name, T, n, call)                                            \
    I T##n name(const T##n a) {                                            \
        T##n r;                                                            \
        for (uint i = 0; i < n; i++) {                                     \
            const T x = ((const __private T *)&a)[i];                      \
            ((__private T *)&r)[i] = call;                                 \
        }                                                                  \
        return r;                                                          \
    }
#define EACH2(name, T, n, call)                                            \
    I T##n name(const T##n a, const T##n b) {                              \
        T##n r;                                                            \
        for (uint i = 0; i < n; i++) {                                     \
            const T x = ((const __private T *)&a)[i];                      \
            const T y = ((const __private T *)&b)[i];                      \
            ((__private T *)&r)[i] = call;                                 \
        }                                                                  \
        return r;                                                          \
    }
#define FLOAT1(name, call)                                                 \
    I float name(const float x) { return call; }                           \
    EACH1(name, float, 2, call) EACH1(name, float, 4, call) EACH1(name, float, 8, call) EACH1(name, float, 16, call)
#define FLOAT2(name, call)                                                 \
    I float name(const float x, const float y) { return call; }            \
    EACH2(name, float, 2, call) EACH2(name, float, 4, call) EACH2(name, float, 8, call) EACH2(name, float, 16, call)
#ifdef NATIVE_ROUGH /* a root that is one unit off: the library's probe sees it and divides and roots by integers */
FLOAT1(sqrt, as_float(as_uint(__builtin_sqrtf(x)) + 1u))
#else
FLOAT1(sqrt, __builtin_sqrtf(x))
#endif
FLOAT1(fabs, __builtin_fabsf(x))
FLOAT1(rint, __builtin_rintf(x))
FLOAT1(ceil, __builtin_ceilf(x))
FLOAT1(floor, __builtin_floorf(x))
FLOAT2(fmin, __builtin_fminf(x, y))
FLOAT2(fmax, __builtin_fmaxf(x, y))
I float fma(const float a, const float b, const float c) { return __builtin_fmaf(a, b, c); }
#define FMA(n)                                                                                                            \
    I float##n fma(const float##n a, const float##n b, const float##n c) {                                                \
        float##n r;                                                                                                       \
        for (uint i = 0; i < n; i++) {                                                                                    \
            ((__private float *)&r)[i] = __builtin_fmaf(((const __private float *)&a)[i], ((const __private float *)&b)[i], \
                                                        ((const __private float *)&c)[i]);                               \
        }                                                                                                                 \
        return r;                                                                                                         \
    }
FMA(2) FMA(4) FMA(8) FMA(16)

#define INTEGER(T)                                                         \
    I T min(const T a, const T b) { return b < a ? b : a; }                \
    I T max(const T a, const T b) { return a < b ? b : a; }
INTEGER(char) INTEGER(uchar) INTEGER(short) INTEGER(ushort) INTEGER(int) INTEGER(uint) INTEGER(long) INTEGER(ulong)
#define INTEGERS(T, n) EACH2(min, T, n, y < x ? y : x) EACH2(max, T, n, x < y ? y : x)
INTEGERS(int, 2) INTEGERS(int, 4) INTEGERS(int, 8) INTEGERS(int, 16) INTEGERS(uint, 2) INTEGERS(uint, 4) INTEGERS(uint, 8) INTEGERS(uint, 16)
I uint clz(const uint x) { return x ? (uint)__builtin_clz(x) : 32u; }
I ulong clz(const ulong x) { return x ? (ulong)__builtin_clzl(x) : 64ul; }
I uint popcount(const uint x) { return (uint)__builtin_popcount(x); }
I ulong popcount(const ulong x) { return (ulong)__builtin_popcountl(x); }
I float select(const float a, const float b, const int c) { return c ? b : a; }
I int any(const int4 a) { return (a.s0 | a.s1 | a.s2 | a.s3) < 0; }

#define CONVERT(T, n)                                                                                                     \
    I T##n convert_##T##n(const uchar##n v) { return __builtin_convertvector(v, T##n); }                                  \
    I T##n convert_##T##n(const ushort##n v) { return __builtin_convertvector(v, T##n); }                                 \
    I T##n convert_##T##n(const uint##n v) { return __builtin_convertvector(v, T##n); }                                   \
    I T##n convert_##T##n(const int##n v) { return __builtin_convertvector(v, T##n); }                                    \
    I T##n convert_##T##n(const ulong##n v) { return __builtin_convertvector(v, T##n); }                                  \
    I T##n convert_##T##n(const float##n v) { return __builtin_convertvector(v, T##n); }
#define CONVERTS(T) CONVERT(T, 2) CONVERT(T, 4) CONVERT(T, 8) CONVERT(T, 16)
CONVERTS(uchar) CONVERTS(ushort) CONVERTS(uint) CONVERTS(int) CONVERTS(ulong) CONVERTS(float)

/* ---- atomics: work-items run one after the other */
#define ATOMIC(name, T, space, next)                                       \
    I T name(volatile space T *p, const T x) {                             \
        const T old = *p;                                                  \
        *p = next;                                                         \
        return old;                                                        \
    }
#define ATOMICS(name, next)                                                                                            \
    ATOMIC(name, int, __global, next) ATOMIC(name, uint, __global, next) ATOMIC(name, int, __local, next) ATOMIC(name, uint, __local, next)
ATOMICS(atomic_add, old + x)
ATOMICS(atomic_sub, old - x)
ATOMICS(atomic_min, x < old ? x : old)
ATOMICS(atomic_max, old < x ? x : old)
ATOMICS(atomic_or, old | x)
ATOMICS(atomic_and, old & x)
ATOMICS(atomic_xchg, x)
#define COUNT(T, space)                                                    \
    I T atomic_inc(volatile space T *p) { return atomic_add(p, (T)1); }    \
    I T atomic_dec(volatile space T *p) { return atomic_sub(p, (T)1); }
COUNT(int, __global) COUNT(uint, __global) COUNT(int, __local) COUNT(uint, __local)
#undef I
