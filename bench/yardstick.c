/* yardstick.c - threads that share out the yardstick's work in small pieces, first come first served, as the OpenCL runtime does. */
#include "yardstick.h"

#include <pthread.h>
#ifdef __linux__
#include <sched.h>
#endif
#include <stdatomic.h>
#include <stdlib.h>

#include "yardstick_avx512.h"

#if defined(__x86_64__)

enum { MAX_THREADS = 64, BAGS_A_PIECE = 64, BLOCKS_A_PIECE = 16384 };

struct yardstick {
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    pthread_t thread[MAX_THREADS];
    int threads, running;
    int64_t round; /* of work; threads wait for the next one */
    bool stop;
    yardstick_kind kind;
    yardstick_work work;
    int64_t pieces, total, piece;
    _Atomic int64_t next;
};

bool yardstick_available(int32_t dim) {
    return (dim == 16 || dim == 64 || dim == 128 || dim == 256) && __builtin_cpu_supports("avx512f") &&
           __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("fma");
}

static void work_on(yardstick *y) {
    static void (*const body[])(const yardstick_work *, int64_t, int64_t) = {
        [YARDSTICK_FLOAT] = yardstick_float_avx512, [YARDSTICK_QAT] = yardstick_qat_avx512,   [YARDSTICK_ROWS] = yardstick_rows_avx512,
        [YARDSTICK_COPY] = yardstick_copy_avx512,   [YARDSTICK_READ] = yardstick_read_avx512,
    };
    for (;;) {
        const int64_t i = atomic_fetch_add(&y->next, 1);
        if (i >= y->pieces) {
            return;
        }
        const int64_t last = (i + 1) * y->piece;
        body[y->kind](&y->work, i * y->piece, last < y->total ? last : y->total);
    }
}

static void *thread_main(void *argument) {
    yardstick *y = argument;
    int64_t seen = 0;
    (void)pthread_mutex_lock(&y->lock);
    for (;;) {
        while (y->round == seen && !y->stop) {
            (void)pthread_cond_wait(&y->start, &y->lock);
        }
        if (y->stop) {
            break;
        }
        seen = y->round;
        (void)pthread_mutex_unlock(&y->lock);
        work_on(y);
        (void)pthread_mutex_lock(&y->lock);
        if (--y->running == 0) {
            (void)pthread_cond_signal(&y->done);
        }
    }
    (void)pthread_mutex_unlock(&y->lock);
    return NULL;
}

/* Thread i stays on the i-th processor that the program may use, as PoCL's do with POCL_AFFINITY=1: left to the scheduler, two of them often share
 * one. Where that cannot be had they stay as they are. */
static void stay(pthread_t thread, size_t i) {
#ifdef __linux__
    cpu_set_t may;
    cpu_set_t one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof may, &may) != 0 || i >= (size_t)CPU_COUNT(&may)) {
        return;
    }
    size_t cpu = 0;
    while (!CPU_ISSET(cpu, &may) || i-- > 0) {
        cpu++;
    }
    CPU_SET(cpu, &one);
    (void)pthread_setaffinity_np(thread, sizeof one, &one);
#else
    (void)thread;
    (void)i;
#endif
}

yardstick *yardstick_create(int threads) {
    yardstick *y = calloc(1, sizeof *y);
    if (!y) {
        return NULL;
    }
    (void)pthread_mutex_init(&y->lock, NULL);
    (void)pthread_cond_init(&y->start, NULL);
    (void)pthread_cond_init(&y->done, NULL);
    while (y->threads < threads && y->threads < MAX_THREADS) {
        if (pthread_create(&y->thread[y->threads], NULL, thread_main, y) != 0) {
            yardstick_destroy(y);
            return NULL;
        }
        stay(y->thread[y->threads], (size_t)y->threads);
        y->threads++;
    }
    return y;
}

void yardstick_destroy(yardstick *y) {
    if (!y) {
        return;
    }
    (void)pthread_mutex_lock(&y->lock);
    y->stop = true;
    (void)pthread_cond_broadcast(&y->start);
    (void)pthread_mutex_unlock(&y->lock);
    for (int i = 0; i < y->threads; i++) {
        (void)pthread_join(y->thread[i], NULL);
    }
    (void)pthread_mutex_destroy(&y->lock);
    (void)pthread_cond_destroy(&y->start);
    (void)pthread_cond_destroy(&y->done);
    free(y);
}

void yardstick_run(yardstick *y, yardstick_kind kind, const yardstick_work *work) {
    const bool in_order = kind == YARDSTICK_COPY || kind == YARDSTICK_READ;
    (void)pthread_mutex_lock(&y->lock);
    y->kind = kind;
    y->work = *work;
    y->total = in_order ? work->num_rows * work->dim / 16 : work->bags;
    y->piece = in_order ? BLOCKS_A_PIECE : BAGS_A_PIECE;
    y->pieces = (y->total + y->piece - 1) / y->piece;
    atomic_store(&y->next, 0);
    y->running = y->threads;
    y->round++;
    (void)pthread_cond_broadcast(&y->start);
    while (y->running > 0) {
        (void)pthread_cond_wait(&y->done, &y->lock);
    }
    (void)pthread_mutex_unlock(&y->lock);
}

#else /* no such processor: the bench leaves the rows out */

bool yardstick_available(int32_t dim) {
    (void)dim;
    return false;
}
yardstick *yardstick_create(int threads) {
    (void)threads;
    return NULL;
}
void yardstick_destroy(yardstick *y) {
    (void)y;
}
void yardstick_run(yardstick *y, yardstick_kind kind, const yardstick_work *work) {
    (void)y;
    (void)kind;
    (void)work;
}

#endif
