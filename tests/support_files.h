/* support_files.h - files of a test: a folder of its own, whole reads and writes. */
#ifndef QEMB_TESTS_SUPPORT_FILES_H
#define QEMB_TESTS_SUPPORT_FILES_H

#include <stddef.h>

/* Makes a fresh folder; every test of a suite has its own. Give both to the suite as .init and .fini. */
void support_folder_create(void);
void support_folder_remove(void);

/* FOLDER/name, in one of a few rotating buffers. */
const char *support_path(const char *name);

/* Writes a file of the folder and returns its path. */
const char *support_write(const char *name, const void *bytes, size_t count);

/* The whole file with a NUL behind it, to be freed by the caller; NULL if it cannot be read. */
char *support_read(const char *path, size_t *count);

/* Number of files in the folder, and of those whose name holds `part`. */
int support_count_files(const char *part);

#endif
