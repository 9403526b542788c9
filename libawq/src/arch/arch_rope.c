/* The numbers of an opened model's rotary embedding, which its plugin must have taken as they are.
 */
#include "arch/rope.h"

#include <string.h>

static bool same_rope(const awq_rope *a, const awq_rope *b)
{
    return a->pairs == b->pairs && a->attention_factor == b->attention_factor &&
           !memcmp(a->inverse_frequency, b->inverse_frequency,
                   (size_t)a->pairs * sizeof *a->inverse_frequency);
}

awq_status awq__arch_rope(awq_context *ctx, const awq__arch *arch, awq__rope_numbers *numbers)
{
    awq__host host;
    awq_rope rope;
    awq__host_init(&host, ctx, arch->config_path, arch->text_config, arch->checkpoint);
    AWQ__CHECK(awq__rope_read(&host.table, numbers));
    AWQ__CHECK(awq__config_rope(&host.table, arch->model.rope.pairs * 2, &rope));
    if (same_rope(&rope, &arch->model.rope))
        return AWQ_OK;
    return awq__fail(ctx, AWQ_ERROR_UNSUPPORTED,
                     "%s: plugin %s has a rotary embedding that these parameters do not give",
                     arch->config_path, arch->plugin->table.id);
}
