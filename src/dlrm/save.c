#include "dlrm/save.h"
qemb_status dlrm_save(dlrm_model *m, const dlrm_data_desc *data, const dlrm_position *position, const char *path){(void)m;(void)data;(void)position;(void)path;return 0;}
qemb_status dlrm_save_packed(dlrm_model *m, const dlrm_data_desc *data, const char *c){(void)m;(void)data;(void)c;return 0;}
qemb_status dlrm_saved_config(const char *path, dlrm_config *config, dlrm_data_desc *data, char *c){(void)path;(void)data;(void)config;(void)c;return 0;}
qemb_status dlrm_resume(dlrm_model *m, const char *path, dlrm_position *p){(void)m;(void)path;(void)p;return 0;}
qemb_status dlrm_serve(dlrm_model *m, const char *path){(void)m;(void)path;return 0;}
