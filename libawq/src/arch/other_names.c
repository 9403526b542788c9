/* Modules whose tensors some checkpoints call otherwise than the description does. */
#include "arch/arch.h"

#include <stdio.h>
#include <string.h>

int awq__count_other_names(const awq_other_name *pairs)
{
    int count = 0;
    while (pairs && count <= AWQ__MAX_OTHER_NAMES && pairs[count].described && pairs[count].stored)
        count++;
    return count;
}

/* The name with the parts of the pairs in `which`, a set of bits, in their other spelling. False if
   it lacks one of them or gets too long. */
static bool spell(const char *name, const awq_other_name *pairs, unsigned which,
                  char out[AWQ_NAME_BYTES])
{
    snprintf(out, AWQ_NAME_BYTES, "%s", name);
    for (int i = 0; which >> i; i++) {
        char rest[AWQ_NAME_BYTES];
        const char *described = pairs[i].described;
        if (!(which >> i & 1))
            continue;
        char *at = strstr(out, described);
        if (!at)
            return false;
        snprintf(rest, sizeof rest, "%s", at + strlen(described));
        size_t room = (size_t)(out + AWQ_NAME_BYTES - at);
        if ((size_t)snprintf(at, room, "%s%s", pairs[i].stored, rest) >= room)
            return false;
    }
    return true;
}

/* Is a tensor of the module there, as it is or in codes? */
static bool is_stored(const awq__checkpoint *checkpoint, const char *name, const char *suffix)
{
    const char *const suffixes[] = {suffix, ".qweight", ".weight_packed"};
    for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
        char tensor[AWQ_NAME_BYTES + 16];
        snprintf(tensor, sizeof tensor, "%s%s", name, suffixes[i]);
        if (awq__checkpoint_find(checkpoint, tensor))
            return true;
    }
    return false;
}

static awq_status find_other(awq_context *ctx, const awq__arch *arch, int pair_count,
                             awq__module *module)
{
    char other[AWQ_NAME_BYTES];
    if (module->fused || is_stored(arch->checkpoint, module->name, module->suffix))
        return AWQ_OK;
    for (unsigned which = 1; which < 1u << pair_count; which++)
        if (spell(module->name, arch->plugin->table.other_names, which, other) &&
            is_stored(arch->checkpoint, other, module->suffix)) {
            module->stored = awq__strdup(ctx, other);
            return module->stored ? AWQ_OK : AWQ_ERROR_MEMORY;
        }
    return AWQ_OK;
}

awq_status awq__find_other_names(awq_context *ctx, awq__arch *arch)
{
    int pairs = arch->checkpoint ? awq__count_other_names(arch->plugin->table.other_names) : 0;
    for (size_t i = 0; pairs && i < arch->module_count; i++)
        AWQ__CHECK(find_other(ctx, arch, pairs, &arch->modules[i]));
    return AWQ_OK;
}
