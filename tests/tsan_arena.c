/* tsan_arena.c - Criterion's arena where the thread sanitizer allows memory.
 *
 * Criterion maps the arena that its workers share at 0x200000000000 + rand_r() * 2^24 and gives up after three failures. Under the thread
 * sanitizer nearly all of that range is shadow memory; what it leaves to position-independent programs begins at 0x550000000000. Only the
 * programs of the thread sanitizer's build are linked with this. */
int rand_r(unsigned *seed);

__attribute__((visibility("default"))) int rand_r(unsigned *seed) {
    *seed = *seed * 1103515245u + 12345u;
    return (int)(0x351000u + (*seed >> 16) % 0x1000u);
}
