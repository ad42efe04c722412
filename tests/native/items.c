/* items.c - linked into every natively compiled kernel library: the work-item functions, over a pointer that the device sets. */
#include "items.h"

native_items *native_current;

#define DIMENSION(name, field, otherwise)                      \
    unsigned long name(unsigned d) {                           \
        return d == 0 ? native_current->field : (otherwise);   \
    }
DIMENSION(native_global_id, global, 0)
DIMENSION(native_local_id, local, 0)
DIMENSION(native_group_id, group, 0)
DIMENSION(native_global_size, global_size, 1)
DIMENSION(native_local_size, local_size, 1)

unsigned native_work_dim(void) {
    return 1;
}

void native_barrier(void) {
    native_current->barrier(native_current);
}
