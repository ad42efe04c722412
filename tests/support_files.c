/* support_files.c - see support_files.h. */
#include "support_files.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[256];

void support_folder_create(void) {
    const char *base = getenv("TMPDIR");
    (void)snprintf(folder, sizeof folder, "%s/qemb-test-XXXXXX", base && *base && strlen(base) < 200 ? base : "/tmp");
    if (!mkdtemp(folder)) {
        perror("mkdtemp");
        abort();
    }
}

/* Tests make files, links and empty folders, nothing deeper. */
void support_folder_remove(void) {
    DIR *open_folder = opendir(folder);
    struct dirent *entry;
    while (open_folder && (entry = readdir(open_folder))) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            (void)remove(support_path(entry->d_name));
        }
    }
    if (open_folder) {
        (void)closedir(open_folder);
    }
    (void)rmdir(folder);
}

const char *support_path(const char *name) {
    static char buffers[8][640];
    static unsigned next;
    char *path = buffers[next++ % 8];
    (void)snprintf(path, sizeof buffers[0], "%s/%s", folder, name);
    return path;
}

const char *support_write(const char *name, const void *bytes, size_t count) {
    const char *path = support_path(name);
    FILE *file = fopen(path, "wb");
    if (!file || (count && fwrite(bytes, 1, count, file) != count) || fclose(file) != 0) {
        perror(path);
        abort();
    }
    return path;
}

char *support_read(const char *path, size_t *count) {
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (!file || fstat(fileno(file), &info) != 0) {
        return NULL;
    }
    size_t size = (size_t)info.st_size;
    char *bytes = calloc(size + 1, 1);
    if (!bytes || fread(bytes, 1, size, file) != size) {
        abort();
    }
    (void)fclose(file);
    *count = size;
    return bytes;
}

int support_count_files(const char *part) {
    DIR *open_folder = opendir(folder);
    struct dirent *entry;
    int files = 0;
    while (open_folder && (entry = readdir(open_folder))) {
        files += entry->d_name[0] != '.' && strstr(entry->d_name, part) != NULL;
    }
    if (open_folder) {
        (void)closedir(open_folder);
    }
    return files;
}
