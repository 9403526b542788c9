/* The table of recipe options, which is also their documentation. */
#include "plan/engines.h"
#include "plan/recipe.h"

#include <string.h>

#define MEBI (INT64_C(1) << 20)
#define EXACT_IN_JSON (INT64_C(1) << 53)
#define MANY (INT64_C(1) << 40)

#define PRESETS "w4a16|w4a16-asym|w8a16|int8|mxfp4|nf4"
#define METHODS "awq|gptq|rtn"
#define ROUNDINGS "nearest|gptq"
#define BITS "2|4|8"
#define GROUP_SIZES "auto|32|64|128|-1"
#define SYMMETRIC "auto|true|false"
#define TYPES "q4_k|q5_k|q6_k|q3_k|q2_k|q4_0|q4_1|q5_0|q5_1|q8_0|iq4_nl|iq4_xs|mxfp4|nvfp4"

/* In the order of a well-written recipe; the options of a section stand together. */
static const awq_option options[] = {
    {"model", AWQ_OPTION_PATH, "", "", 0, 0, true,
     "Directory of the checkpoint to quantize; to plan only, its config.json is enough."},
    {"output", AWQ_OPTION_PATH, "", "", 0, 0, true, "Directory to create for the result."},
    {"format", AWQ_OPTION_CHOICE, "auto",
     "auto|awq|compressed-tensors|gptq|mxfp4|bitsandbytes|gguf", 0, 0, false,
     "Layout of the quantized tensors: awq is AutoAWQ's gemm layout, compressed-tensors its "
     "pack-quantized one, gptq that of GPTQModel, mxfp4 that of GPT-OSS, bitsandbytes NF4 (4 bits) "
     "or LLM.int8 (8), gguf a file for llama.cpp; auto is what the preset asks for, else what most "
     "engines load for the "
     "architecture."},
    {"engine", AWQ_OPTION_CHOICE, "any", AWQ__ENGINE_CHOICES, 0, 0, false,
     "What will serve the result: a recipe whose result it cannot load is refused. any only warns "
     "of engines that cannot load it."},
    {"ignore_engine", AWQ_OPTION_BOOLEAN, "false", "", 0, 0, false,
     "Only warn where the engine cannot load the result, and write it."},
    {"tensor_parallel", AWQ_OPTION_INTEGER, "1", "", 1, 1024, false,
     "Devices that the engine spreads each matrix over; each must get whole groups."},
    {"shard_size", AWQ_OPTION_SIZE, "5GB", "", 1000000, EXACT_IN_JSON, false,
     "Largest size of one output file; a single tensor may exceed it."},
    {"memory_limit", AWQ_OPTION_SIZE, "", "", 1000000, EXACT_IN_JSON, false,
     "Most memory that the run may take: with less, fewer threads work at a time, and the result "
     "is the same. By default what the system allows: the limit of the memory cgroup, else the "
     "machine's memory."},
    {"device", AWQ_OPTION_TEXT, "auto", "", 0, 0, false,
     "What computes: cpu, or a device that awqc devices lists, as cuda or cuda:1. auto is cpu in "
     "this "
     "version."},
    {"device_memory", AWQ_OPTION_SIZE, "", "", 1000000, EXACT_IN_JSON, false,
     "Most memory of the device that the run may take; by default what is free there."},
    {"plugin", AWQ_OPTION_TEXT, "", "", 0, 0, false,
     "Id of the architecture plugin, needed where several serve the model's type."},

    {"calibration.data", AWQ_OPTION_PATH_LIST, "", "", 0, 0, false,
     "Files to calibrate with: .txt, .jsonl, .json, or .safetensors with input_ids; needed unless "
     "quantize.method is rtn."},
    {"calibration.field", AWQ_OPTION_TEXT, "text", "", 0, 0, false,
     "Field that holds the text, in a line of .jsonl or an element of .json."},
    {"calibration.samples", AWQ_OPTION_INTEGER, "128", "", 1, MEBI, false,
     "Most sequences to calibrate with."},
    {"calibration.sequence_length", AWQ_OPTION_INTEGER, "512", "", 2, MEBI, false,
     "Most tokens of one sequence."},
    {"calibration.packing", AWQ_OPTION_CHOICE, "pack", "pack|cut", 0, 0, false,
     "pack joins documents into full sequences; cut takes the beginning of each document."},
    {"calibration.seed", AWQ_OPTION_INTEGER, "0", "", 0, EXACT_IN_JSON, false,
     "Chooses the sequences when there are more than samples."},
    {"calibration.min_expert_tokens", AWQ_OPTION_INTEGER, "128", "", 0, MEBI, false,
     "An expert that saw fewer tokens borrows those that came nearest to being routed to it."},

    {"quantize.preset", AWQ_OPTION_CHOICE, "none", "none|" PRESETS, 0, 0, false,
     "Bits, groups and codes by a name that people know; other options of quantize override it."},
    {"quantize.method", AWQ_OPTION_CHOICE, "awq", METHODS, 0, 0, false,
     "awq searches scales and clip ranges on activations; gptq only rounds, with compensation of "
     "errors; rtn only rounds to nearest."},
    {"quantize.rounding", AWQ_OPTION_CHOICE, "gptq", ROUNDINGS, 0, 0, false,
     "How awq rounds: with each column taking back the error of those before it (GPTQ), or to "
     "nearest, which takes less time."},
    {"quantize.gptq_sweeps", AWQ_OPTION_INTEGER, "1", "", 0, 100, false,
     "How often GPTQ goes over each block of columns again, scales included, before the next."},
    {"quantize.bits", AWQ_OPTION_CHOICE, "4", BITS, 0, 0, false, "Bits of one quantized weight."},
    {"quantize.group_size", AWQ_OPTION_CHOICE, "auto", GROUP_SIZES, 0, 0, false,
     "Weights of a row that share a scale; -1 is one group per row; auto is 32 for mxfp4, for "
     "bitsandbytes 64 (4 bits) or a row (8), else the largest that fits the "
     "matrices, tensor_parallel and the engine."},
    {"quantize.symmetric", AWQ_OPTION_CHOICE, "auto", SYMMETRIC, 0, 0, false,
     "Whether every zero point is the middle code; auto is false for awq, else true."},
    {"quantize.type", AWQ_OPTION_CHOICE, "auto", "auto|" TYPES, 0, 0, false,
     "Block type of gguf, in place of bits, group_size and symmetric; auto mixes them, experts "
     "q4_k "
     "and their down q5_k (iq4_nl and q5_1 where rows are no multiple of 256), attention and "
     "shared experts q8_0, embedding and head q6_k or q8_0."},
    {"quantize.target_bits", AWQ_OPTION_NUMBER, "", "", 1, 16, false,
     "Mean bits of a weight of the experts that quantize.modules names and no rule, scales "
     "included: bits and groups are chosen for each layer by what they do to its output, in place "
     "of quantize.bits and group_size."},
    {"quantize.target_size", AWQ_OPTION_SIZE, "", "", 1, EXACT_IN_JSON, false,
     "The same by the size of the whole result."},
    {"quantize.target_schemes", AWQ_OPTION_TEXT, "4:128,4:64,4:32,8:128", "", 0, 0, false,
     "What target_bits and target_size choose from: bits and group sizes, with commas between."},
    {"quantize.target_unit", AWQ_OPTION_CHOICE, "layer", "layer|expert", 0, 0, false,
     "What has one scheme. Engines fuse the experts of a layer and load only layer."},
    {"quantize.clip", AWQ_OPTION_BOOLEAN, "true", "", 0, 0, false,
     "Whether to search the clip range of each group: a smaller one, or another exponent for "
     "mxfp4."},
    {"quantize.modules", AWQ_OPTION_TEXT_LIST, "*.experts.*", "", 0, 0, false,
     "Patterns for the names of the modules to quantize, as a rule's match has them; what neither "
     "these nor rules name stays as it is. For gguf the default is '*', all matrices but routers."},
    {"quantize.ratio_steps", AWQ_OPTION_INTEGER, "20", "", 1, 1000, false,
     "Steps of the scale search: it tries the ratios (alpha) 0/n to n/n of this n."},
    {"quantize.sketch_rows", AWQ_OPTION_INTEGER, "512", "", 0, MEBI, false,
     "Gram matrices (Hessians) of more columns than this are kept as a sketch of so many rows; 0 "
     "keeps them whole."},

    {"evaluation.data", AWQ_OPTION_PATH_LIST, "", "", 0, 0, false,
     "Files to evaluate the result on, of the same kinds as calibration.data; none is no "
     "evaluation."},
    {"evaluation.field", AWQ_OPTION_TEXT, "text", "", 0, 0, false,
     "Field that holds the text, in a line of .jsonl or an element of .json."},
    {"evaluation.sequence_length", AWQ_OPTION_INTEGER, "256", "", 2, MEBI, false,
     "Tokens of one window of text, the beginning-of-sequence token included."},
    {"evaluation.windows", AWQ_OPTION_INTEGER, "0", "", 0, MANY, false,
     "Most windows to evaluate; 0 is all."},
};

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

/* Of one rule: first the selectors, then the treatment. */
static const awq_option rule_options[] = {
    {"match", AWQ_OPTION_TEXT, "", "", 0, 0, false,
     "Glob on the names of modules as the checkpoint spells them, which may leave out the first "
     "components; after re: a regular expression from the beginning of the name."},
    {"role", AWQ_OPTION_CHOICES, "", "expert|shared_expert|attention|mlp|router|embedding|head", 0,
     0, false, "What the modules are for."},
    {"layers", AWQ_OPTION_INDICES, "", "", 0, 0, false,
     "Numbers of layers, from 0: 0-3,-1 are the first four and the last, ::2 every second."},
    {"experts", AWQ_OPTION_INDICES, "", "", 0, 0, false,
     "Numbers of routed experts, from 0: even, odd, 0-7, ::2."},
    {"projection", AWQ_OPTION_CHOICES, "", "gate_up|gate|up|down|qkv|q|k|v|q_a|q_b|kv_a|kv_b|o", 0,
     0, false, "Which matrices of experts or of the attention."},

    {"keep", AWQ_OPTION_BOOLEAN, "", "", 0, 0, false, "Whether the modules stay as they are."},
    {"preset", AWQ_OPTION_CHOICE, "", PRESETS, 0, 0, false, "As quantize.preset."},
    {"method", AWQ_OPTION_CHOICE, "", METHODS, 0, 0, false, "As quantize.method."},
    {"rounding", AWQ_OPTION_CHOICE, "", ROUNDINGS, 0, 0, false, "As quantize.rounding."},
    {"bits", AWQ_OPTION_CHOICE, "", BITS, 0, 0, false, "As quantize.bits."},
    {"group_size", AWQ_OPTION_CHOICE, "", GROUP_SIZES, 0, 0, false, "As quantize.group_size."},
    {"symmetric", AWQ_OPTION_CHOICE, "", SYMMETRIC, 0, 0, false, "As quantize.symmetric."},
    {"type", AWQ_OPTION_CHOICE, "", TYPES, 0, 0, false, "As quantize.type."},
    {"clip", AWQ_OPTION_BOOLEAN, "", "", 0, 0, false, "As quantize.clip."},
};

enum { RULE_OPTION_COUNT = sizeof rule_options / sizeof rule_options[0] };

static const awq_option *find(const awq_option *list, size_t count, const char *name)
{
    for (size_t i = 0; i < count && name; i++)
        if (!strcmp(list[i].name, name))
            return &list[i];
    return NULL;
}

const awq_option *awq_option_list(size_t *count)
{
    if (count)
        *count = OPTION_COUNT;
    return options;
}

const awq_option *awq_rule_option_list(size_t *count)
{
    if (count)
        *count = RULE_OPTION_COUNT;
    return rule_options;
}

const awq_option *awq_option_find(const char *name)
{
    return find(options, OPTION_COUNT, name);
}

const awq_option *awq_rule_option_find(const char *name)
{
    return find(rule_options, RULE_OPTION_COUNT, name);
}

const char *awq__option_last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

static const awq_option *find_nearest(const awq_option *list, size_t count, const char *name)
{
    const awq_option *nearest = list;
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < count && name; i++) {
        size_t distance = awq__edit_distance(name, list[i].name);
        /* A section that is forgotten or wrong is one mistake, however long its name. */
        size_t in_section = 1 + awq__edit_distance(awq__option_last_part(name),
                                                   awq__option_last_part(list[i].name));
        if (in_section < distance)
            distance = in_section;
        if (distance < nearest_distance) {
            nearest = &list[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}

const awq_option *awq_option_nearest(const char *name)
{
    return find_nearest(options, OPTION_COUNT, name);
}

const awq_option *awq_rule_option_nearest(const char *name)
{
    return find_nearest(rule_options, RULE_OPTION_COUNT, name);
}
