/* The host's config_rope. */
#ifndef AWQ__ROPE_H
#define AWQ__ROPE_H

#include "awq/plugin.h"

/* As awq_host.config_rope says; `table` is that of an awq__host. */
awq_status awq__config_rope(const awq_host *table, int64_t head_dim, awq_rope *rope);

#endif
