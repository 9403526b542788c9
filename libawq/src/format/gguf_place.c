/* Names and shapes of tensors in GGUF. */
#include "format/gguf_model.h"

#include <stdio.h>

/* Stems by part; NULL: the family's own, or one that the kind of expert tells. */
static const char *stem_of(const awq__gguf_family *family, awq__part part)
{
    static const char *const stems[] = {
        [AWQ__PART_EMBEDDING] = "token_embd",
        [AWQ__PART_ATTENTION_NORM] = "attn_norm",
        [AWQ__PART_Q] = "attn_q",
        [AWQ__PART_K] = "attn_k",
        [AWQ__PART_V] = "attn_v",
        [AWQ__PART_O] = "attn_output",
        [AWQ__PART_Q_NORM] = "attn_q_norm",
        [AWQ__PART_K_NORM] = "attn_k_norm",
        [AWQ__PART_SINKS] = "attn_sinks",
        [AWQ__PART_ROUTER] = "ffn_gate_inp",
        [AWQ__PART_GATE] = "ffn_gate",
        [AWQ__PART_UP] = "ffn_up",
        [AWQ__PART_DOWN] = "ffn_down",
        [AWQ__PART_FINAL_NORM] = "output_norm",
        [AWQ__PART_TOKEN_GATE] = "ffn_gate_inp_shexp",
        [AWQ__PART_HEAD] = "output",
    };
    return part == AWQ__PART_MOE_NORM ? family->moe_norm : stems[part];
}

static void print_name(const awq__gguf_family *family, const awq__module *module, bool bias,
                       char name[AWQ__GGUF_NAME_BYTES])
{
    const char *kind = module->part < AWQ__PART_GATE || module->part > AWQ__PART_DOWN ? ""
                       : module->role == AWQ_ROLE_EXPERT                              ? "_exps"
                                                                                      : "_shexp";
    const char *stem = stem_of(family, module->part), *suffix = bias ? "bias" : "weight";
    if (module->layer < 0)
        snprintf(name, AWQ__GGUF_NAME_BYTES, "%s.%s", stem, suffix);
    else
        snprintf(name, AWQ__GGUF_NAME_BYTES, "blk.%lld.%s%s.%s", (long long)module->layer, stem,
                 kind, suffix);
}

static void add_size(awq__gguf_place *place, int64_t size)
{
    place->shape[place->rank++] = size;
}

void awq__gguf_place_of(const awq__gguf_family *family, const awq__arch *arch,
                        const awq__module *module, bool bias, awq__gguf_place *place)
{
    bool expert = module->role == AWQ_ROLE_EXPERT, gate = module->part == AWQ__PART_TOKEN_GATE;
    bool rotated = module->part == AWQ__PART_Q || module->part == AWQ__PART_K;
    bool vector = module->vector || bias;
    *place = (awq__gguf_place){0};
    print_name(family, module, bias, place->name);
    if (expert)
        add_size(place, arch->layers[module->layer].experts.count);
    if (!gate) /* [1,H] is a vector there */
        add_size(place, module->rows);
    if (!vector)
        add_size(place, module->cols);
    place->index = expert ? module->expert : 0;
    if (family->pairs_heads && rotated)
        place->paired_head = arch->layers[module->layer].attention.head_dim;
    place->is_matrix = !vector && !gate && module->part != AWQ__PART_ROUTER;
}
