/* support_program.c - see support_program.h. */
#include "support_program.h"

#include <criterion/criterion.h>
#include <qemb/qemb_io.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support_files.h"
#include "support_ok.h"

static char path[1200];
static const char *program = "bin/qemb";

void support_program_is(const char *name) {
    program = name;
    path[0] = 0;
}

const char *support_program(void) {
    if (!path[0]) {
        char self[1024];
        const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        cr_assert_gt(n, 0);
        self[n] = 0;
        for (int i = 0; i < 2; i++) {
            char *slash = strrchr(self, '/');
            cr_assert_not_null(slash);
            *slash = 0;
        }
        (void)snprintf(path, sizeof path, "%s/%s", self, program);
    }
    return path;
}

int support_shell(char *output, size_t size, const char *command) {
    char full[8192];
    const char *mark = strstr(command, "QEMB ");
    int used = 0;
    for (; mark; command = mark + 4, mark = strstr(command, "QEMB ")) {
        used += snprintf(full + used, sizeof full - (size_t)used, "%.*s'%s'", (int)(mark - command), command, support_program());
        cr_assert_lt((size_t)used, sizeof full);
    }
    (void)snprintf(full + used, sizeof full - (size_t)used, "%s", command);
    FILE *pipe = popen(full, "r");
    cr_assert_not_null(pipe);
    const size_t got = fread(output, 1, size - 1, pipe);
    output[got] = 0;
    const int status = pclose(pipe);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

const char *support_state_dict(const char *name, int tables, const float *row_3) {
    static const int64_t shape[] = {STATE_ROWS, STATE_DIM};
    static const qemb_tensor_desc d[] = {{"emb_l.0.weight", shape, 2, QEMB_FILE_F32}, {"emb_l.1.weight", shape, 2, QEMB_FILE_F32}};
    float weight[2][STATE_ROWS * STATE_DIM];
    for (int i = 0; i < 2 * STATE_ROWS * STATE_DIM; i++) {
        weight[i / (STATE_ROWS * STATE_DIM)][i % (STATE_ROWS * STATE_DIM)] = (float)(i * 37 % 101) / 16.0f - 3.0f;
    }
    for (int c = 0; row_3 && c < STATE_DIM; c++) {
        weight[0][3 * STATE_DIM + c] = *row_3;
    }
    OK(qemb_safetensors_save(support_path(name), d, (const void *[]){weight[0], weight[1]}, tables, NULL, 0));
    return support_path(name);
}
