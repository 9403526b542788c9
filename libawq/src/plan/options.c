/* The table of recipe options, which is also their documentation. */
#include "plan/recipe.h"

#include <string.h>

#define MEBI (INT64_C(1) << 20)
#define EXACT_IN_JSON (INT64_C(1) << 53)
#define MANY (INT64_C(1) << 40)

/* In the order of a well-written recipe; the options of a section stand together. */
static const awq_option options[] = {
    {"model", AWQ_OPTION_PATH, "", "", 0, 0, true, "Directory of the checkpoint to quantize."},
    {"output", AWQ_OPTION_PATH, "", "", 0, 0, true, "Directory to create for the result."},
    {"format", AWQ_OPTION_CHOICE, "auto", "auto|awq|compressed-tensors|mxfp4", 0, 0, false,
     "Layout of the quantized tensors: awq is AutoAWQ's gemm layout, compressed-tensors its "
     "pack-quantized one, mxfp4 that of GPT-OSS; auto is what most engines load for the "
     "architecture."},
    {"shard_size", AWQ_OPTION_SIZE, "5GB", "", 1000000, EXACT_IN_JSON, false,
     "Largest size of one output file; a single tensor may exceed it."},
    {"plugin", AWQ_OPTION_TEXT, "", "", 0, 0, false,
     "Id of the architecture plugin, needed where several serve the model's type."},

    {"calibration.data", AWQ_OPTION_PATH_LIST, "", "", 0, 0, false,
     "Files to calibrate with: .txt, .jsonl, or .safetensors with input_ids; needed unless "
     "quantize.method is rtn."},
    {"calibration.field", AWQ_OPTION_TEXT, "text", "", 0, 0, false,
     "Field of a .jsonl line that holds its text."},
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

    {"quantize.method", AWQ_OPTION_CHOICE, "awq", "awq|gptq|rtn", 0, 0, false,
     "awq searches scales and ranges on activations; gptq only compensates errors of rounding; rtn "
     "only rounds to nearest."},
    {"quantize.rounding", AWQ_OPTION_CHOICE, "nearest", "nearest|gptq", 0, 0, false,
     "How awq rounds: to nearest, or with each column taking back the error of those before it "
     "(GPTQ), which takes longer."},
    {"quantize.gptq_sweeps", AWQ_OPTION_INTEGER, "1", "", 0, 100, false,
     "How often GPTQ goes over all columns again; each time takes twice as long as the first."},
    {"quantize.bits", AWQ_OPTION_CHOICE, "4", "3|4|8", 0, 0, false,
     "Bits of one quantized weight. 3 is for measurements: its codes are stored in 4 bits."},
    {"quantize.group_size", AWQ_OPTION_CHOICE, "auto", "auto|32|64|128|-1", 0, 0, false,
     "Weights of a row that share a scale; -1 is one group per row; auto is 32 for mxfp4, else the "
     "largest that fits."},
    {"quantize.symmetric", AWQ_OPTION_CHOICE, "auto", "auto|true|false", 0, 0, false,
     "Whether every zero point is the middle code; auto is false for awq, else true."},
    {"quantize.clip", AWQ_OPTION_BOOLEAN, "true", "", 0, 0, false,
     "Whether to search for a better range of each group: a smaller one, or another exponent for "
     "mxfp4."},
    {"quantize.modules", AWQ_OPTION_TEXT_LIST, "*.experts.*", "", 0, 0, false,
     "Globs on the names of the modules to quantize; all others stay as they are."},
    {"quantize.ratio_steps", AWQ_OPTION_INTEGER, "20", "", 1, 1000, false,
     "The scale search tries the ratios 0/n to n/n of this n."},
    {"quantize.search", AWQ_OPTION_CHOICE, "moments", "moments|output", 0, 0, false,
     "What the scale search of gate and up goes by: second moments of their input, or the output "
     "of "
     "the experts, which is exact and many times slower."},
    {"quantize.sketch_rows", AWQ_OPTION_INTEGER, "512", "", 0, MEBI, false,
     "Second moments of more columns than this are kept as a sketch of so many rows; 0 keeps them "
     "whole."},
    {"quantize.search_tokens", AWQ_OPTION_INTEGER, "8192", "", 0, MANY, false,
     "Tokens of a layer, spread evenly, that a search by output uses; 0 is all."},
    {"quantize.scale_rounding", AWQ_OPTION_CHOICE, "norm", "norm|power_of_two|none", 0, 0, false,
     "How channel scales are rounded so that folding them into a stored norm adds no error."},

    {"evaluation.data", AWQ_OPTION_PATH_LIST, "", "", 0, 0, false,
     "Files to evaluate the result on, of the same kinds as calibration.data; none is no "
     "evaluation."},
    {"evaluation.field", AWQ_OPTION_TEXT, "text", "", 0, 0, false,
     "Field of a .jsonl line that holds its text."},
    {"evaluation.sequence_length", AWQ_OPTION_INTEGER, "256", "", 2, MEBI, false,
     "Tokens of one window of text, the beginning-of-sequence token included."},
    {"evaluation.windows", AWQ_OPTION_INTEGER, "0", "", 0, MANY, false,
     "Most windows to evaluate; 0 is all."},
};

enum { OPTION_COUNT = sizeof options / sizeof options[0] };

const awq_option *awq_option_list(size_t *count)
{
    *count = OPTION_COUNT;
    return options;
}

const awq_option *awq_option_find(const char *name)
{
    for (size_t i = 0; i < OPTION_COUNT; i++)
        if (!strcmp(options[i].name, name))
            return &options[i];
    return NULL;
}

/* Levenshtein distance of the first 63 bytes: enough to tell which name was meant. */
static size_t edit_distance(const char *a, const char *b)
{
    enum { LONGEST = 63 };
    size_t row[LONGEST + 1];
    size_t length = strnlen(b, LONGEST);
    for (size_t j = 0; j <= length; j++)
        row[j] = j;
    for (size_t i = 0; i < LONGEST && a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < length; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (diagonal + 1 < best)
                best = diagonal + 1;
            row[j + 1] = best;
        }
    }
    return row[length];
}

const char *awq__option_last_part(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot + 1 : name;
}

const awq_option *awq_option_nearest(const char *name)
{
    const awq_option *nearest = options;
    size_t nearest_distance = SIZE_MAX;
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        size_t distance = edit_distance(name, options[i].name);
        /* A section that is forgotten or wrong is one mistake, however long its name. */
        size_t in_section =
            1 + edit_distance(awq__option_last_part(name), awq__option_last_part(options[i].name));
        if (in_section < distance)
            distance = in_section;
        if (distance < nearest_distance) {
            nearest = &options[i];
            nearest_distance = distance;
        }
    }
    return nearest;
}
