/* cache.h - compiled programs on disk, for drivers that keep none of their own.
 *
 * One file a program, KEY.bin, 32 hexadecimal digits: a head (magic, key, size, checksum), then the driver's bytes. The key is taken over
 * everything that a binary depends on: device, platform, driver version, version of the library, options, source. A file is written beside
 * its place and renamed; one that is damaged, cut, foreign, not this user's or refused by the driver is as good as none: the program is
 * compiled and the file written again. Nothing here fails a call, and nothing is written anywhere else. */
#ifndef QEMB_OPENCL_CACHE_H
#define QEMB_OPENCL_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct qemb__cache_key {
    uint64_t word[2];
} qemb__cache_key;

enum { QEMB__CACHE_FOLDER = 1024, QEMB__CACHE_HEAD = 48 };

/* The folder for a device of this platform; false: no cache. $QEMB_CACHE: "off"; "on": $XDG_CACHE_HOME/qemb or ~/.cache/qemb; else a folder.
 * Unset or empty: as "on", but "off" for platforms that have a cache themselves, and for simulators. */
bool qemb__cache_folder(const char *platform, char folder[QEMB__CACHE_FOLDER]);

/* Adds bytes, and their number, to a key that began as {{0, 0}}. */
void qemb__cache_mix(qemb__cache_key *key, const void *data, size_t bytes);

/* The bytes kept under a key (to be freed by the caller), or NULL. */
void *qemb__cache_get(const char *folder, const qemb__cache_key *key, size_t *bytes);

/* Keeps bytes under a key; makes the folder (for its owner alone). When all files together pass `limit` bytes, those not used for longest
 * go until three quarters are left. */
void qemb__cache_put(const char *folder, const qemb__cache_key *key, const void *data, size_t bytes, int64_t limit);

#endif
