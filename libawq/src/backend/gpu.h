/*
 * What the files of the backend that works on a device share. It keeps the CPU's structs, whose
 * arrays it has on the device. What no device does is left to the CPU, for which the arrays are
 * copied back: plugins' own functions, schemes with blocks of GGUF, nested scales.
 */
#ifndef AWQ__BACKEND_GPU_H
#define AWQ__BACKEND_GPU_H

#include "backend/cpu.h"
#include "backend/device.h"
#include "backend/driver.h"

/* A stored matrix that is on the device. */
typedef struct awq__gpu_matrix {
    const void *key; /* where it is stored; NULL: an empty place */
    awq__device_matrix matrix;
} awq__gpu_matrix;

/* A device that is open. */
typedef struct awq__gpu {
    awq__drivers drivers; /* which have its plugin */
    const awq__device_driver *driver;
    const awq__device_operations *run;
    void *d;
    char name[AWQ__DEVICE_TEXT + 64];
    awq__gpu_matrix *matrices; /* [capacity] a hash table by key */
    size_t matrix_count, capacity;
    pthread_mutex_t lock; /* of operations that any thread calls */
} awq__gpu;

/* ---- gpu_frame.c: arrays of one operation ---- */

/* Ended also after a failure. */
typedef struct awq__frame {
    awq_context *ctx;
    awq__gpu *gpu;
    const awq__device_operations *run;
    void *d;
    void **arrays;
    size_t count, capacity;
} awq__frame;
awq__frame awq__frame_begin(awq_context *ctx);
/* Frees its arrays, and waits. Returns `status`, or the failure of the device. */
awq_status awq__frame_end(awq__frame *frame, awq_status status);
/* Frees the arrays that were made after there were `count`. */
void awq__frame_back(awq__frame *frame, size_t count);
/* *array has so many bytes; AWQ_ERROR_MEMORY says how many there are. */
awq_status awq__frame_bytes(awq__frame *frame, size_t bytes, const char *what, void *array);
awq_status awq__frame_floats(awq__frame *frame, int64_t count, const char *what, float **array);
/* The same, with the host's bytes in it. `from` NULL: *array is NULL. */
awq_status awq__frame_copy(awq__frame *frame, const void *from, size_t bytes, void *array);
awq_status awq__frame_vector(awq__frame *frame, const float *from, int64_t count,
                             const float **array);
/* What stays: the caller frees it with awq__gpu_free. */
awq_status awq__gpu_alloc(awq_context *ctx, awq__gpu *gpu, size_t bytes, const char *what,
                          void *array);
void awq__gpu_free(const awq__gpu *gpu, void *array);
/* Waits; AWQ_ERROR_UNSUPPORTED with what the device says. */
awq_status awq__gpu_finish(awq_context *ctx, const awq__gpu *gpu);

/* ---- gpu_weights.c: matrices on the device ---- */

/* With the multipliers that the weight has now, which are in the frame. A stored matrix comes once,
   until awq__gpu_forget. */
awq_status awq__gpu_matrix_of(awq__frame *frame, const awq__weight *weight,
                              awq__device_matrix *matrix);
/* For a matrix of the frame alone. */
awq_status awq__gpu_matrix_once(awq__frame *frame, const awq__weight *weight,
                                awq__device_matrix *matrix);
void awq__gpu_forget(awq__gpu *gpu, const awq__weight *weight);
void awq__gpu_forget_all(awq__gpu *gpu);
/* Of a layer that is no more. */
void awq__gpu_layer_end(awq_context *ctx, const awq__layer *layer);

/* ---- gpu_states.c ---- */

struct awq__gpu_states {
    awq__gpu *gpu;
    float *hidden, *x; /* [T,H]; x NULL: not yet */
    bool x_is_latest;  /* it is the layer's, and not the host's alone */
    int32_t *position; /* [T] in its sequence */
    float *cos_sin;    /* of the rotary table */
};

awq_status awq__gpu_states_create(awq_context *ctx, const awq_arch_model *model,
                                  const awq__sequences *sequences, const awq__weight *embedding,
                                  awq__states **states);
void awq__gpu_states_free(awq__states *states);
/* The CPU's arrays become what the device has, and the other way round. */
awq_status awq__gpu_to_host(awq__states *states);
awq_status awq__gpu_to_device(awq__states *states);
/* Room for the experts' inputs. */
awq_status awq__gpu_make_x(awq__states *states);
/* Of hidden alone; the CPU's arrays stay. */
awq_status awq__gpu_put_hidden(awq__states *states);
void awq__gpu_free_host(awq__states *states);
awq_status awq__gpu_sum_squares(awq__states *states, double *sum);

/* ---- gpu_attention.c ---- */

/* Does the device compute the layer's attention, its experts? */
bool awq__gpu_takes_attention(const awq__layer *layer);
bool awq__gpu_takes_experts(const awq__layer *layer);
/* What is seen of some sequences: x[T,H], c[T,heads*D], in the frame until the function returns. */
typedef struct awq__gpu_attention_tap {
    awq_status (*see)(void *user, awq__frame *frame, int64_t T, const float *x, const float *c);
    void *user;
} awq__gpu_attention_tap;
/* Sequences of `sequences`, all or some of the states'. out [T,H] from the first of them on, to
   which it adds; NULL: the tap is all that is wanted. */
awq_status awq__gpu_attend(awq__frame *frame, const awq__states *states,
                           const awq__sequences *sequences, const awq__layer *layer, float *out,
                           const awq__gpu_attention_tap *tap);
awq_status awq__gpu_attention(awq__states *states, const awq__layer *layer);

/* ---- gpu_experts.c ---- */

/* x[T,H] of hidden, and the routes of these tokens. */
awq_status awq__gpu_moe_input(awq__frame *frame, const awq__layer *layer, int64_t T,
                              const float *hidden, float *x);
awq_status awq__gpu_moe_route(awq__frame *frame, const awq__forward *forward,
                              const awq__layer *layer, int64_t T, const float *x,
                              awq__routes *routes);
awq_status awq__gpu_route(awq__states *states, const awq__layer *layer, awq__routes *routes);

/* Tokens of an expert that pass it: device arrays, which a tap may change. */
typedef struct awq__gpu_passed {
    int64_t expert, first, tokens; /* T; first: counted from the expert's first */
    float *x, *z;                  /* [T,H] */
    float *gate, *up, *inner;      /* [T,I] */
} awq__gpu_passed;
typedef struct awq__gpu_expert_tap {
    awq_status (*see)(void *user, awq__frame *frame, const awq__gpu_passed *passed);
    void *user;
} awq__gpu_expert_tap;
/* Tokens of an expert that are worked on at a time. */
int64_t awq__gpu_expert_tokens(const awq__layer *layer);
/* Arrays for so many tokens of any expert, in the frame. */
awq_status awq__gpu_passed_create(awq__frame *frame, const awq__layer *layer, int64_t tokens,
                                  awq__gpu_passed *passed);
/* gate, up and inner of x, and z where `output`. */
awq_status awq__gpu_pass_expert(awq__frame *frame, const awq__layer *layer, bool output,
                                awq__device_grade grade, const awq__gpu_passed *passed);
/* out[T,H] += experts(x). tap may be NULL. */
awq_status awq__gpu_moe_experts(awq__frame *frame, const awq__layer *layer, const float *x,
                                const awq__routes *routes, float *out,
                                const awq__gpu_expert_tap *tap);
awq_status awq__gpu_experts(awq__states *states, const awq__layer *layer,
                            const awq__routes *routes);

/* ---- gpu_logits.c ---- */

awq_status awq__gpu_compare_logits(const awq__head *judged, const awq__head *reference,
                                   const int32_t *targets, awq__logit_stats *stats);

/* ---- gpu_block.c ---- */

/* Statistics of what is seen, as awq__seen_data; values NULL: none. */
typedef struct awq__gpu_seen {
    awq__device_gram stats, blocks;
    double *abs_sums; /* [K] sums of |x|; NULL: not needed */
    int64_t tokens;
} awq__gpu_seen;

/* What the device has of a block. */
struct awq__gpu_block {
    awq__gpu *gpu;
    bool by_cpu;         /* all of it is the CPU's, whose arrays are there */
    awq__gpu_seen *seen; /* [seen_count] */
    float **ranges;      /* [reader_count] as awq__reader_data */
    double *slopes;      /* [experts][2][I] as awq__expert_state; NULL: not needed */
    float *row_weights;  /* [experts][2][I] of gate and up; NULL: 1 */
    float *sample;       /* [sampled,H] as awq__block_data */
    int64_t sampled;
};
awq_status awq__gpu_block_begin(awq__block *block);
void awq__gpu_block_end(awq__block *block);
static inline awq__gpu_seen *awq__gpu_seen_of(const awq__block *block, const awq__seen *seen)
{
    return &block->data->device->seen[seen - block->seen];
}
/* What an output's error counts, or NULL. */
const float *awq__gpu_row_weight(const awq__block *block, const awq__reader *reader);
awq__device_scheme awq__gpu_scheme(const awq__scheme *scheme);

/* ---- gpu_stats.c ---- */

awq_status awq__gpu_pass(awq__block *block);
awq_status awq__gpu_statistics(awq__block *block);
/* What is known of an input, to the CPU's seen->data->stats. */
awq_status awq__gpu_read_stats(const awq__block *block, const awq__seen *seen);
awq_status awq__gpu_mean_squares(awq__block *block, const awq__seen *seen, float *squares,
                                 int64_t *tokens);

/* ---- gpu_search.c ---- */

awq_status awq__gpu_search(awq__block *block);
awq_status awq__gpu_scheme_losses(awq__block *block, const int64_t *readers, int64_t count,
                                  const awq__scheme *schemes, int64_t choices, double *losses);

/* ---- gpu_proof.c ---- */

/* Hidden states of tokens spread evenly, before the layer's experts. */
awq_status awq__gpu_proof_sample(awq__frame *frame, awq__block *block);
awq_status awq__gpu_prove(awq__block *block, awq__proof *proof);

/* Rows of the experts' inputs. */
awq_status awq__gpu_gather_tokens(awq__frame *frame, const awq__block *block, const int64_t *tokens,
                                  int64_t T, float *x);

/* ---- gpu_gptq.c ---- */

/* Codes of the quantized readers of a bundle, some by GPTQ. */
awq_status awq__gpu_round_by_gptq(awq__frame *frame, awq__block *block, awq__bundle *bundle,
                                  awq__codes *codes);

/* ---- gpu_clip.c ---- */

/* Which reader of its bundle. */
static inline int awq__reader_place(const awq__reader *reader)
{
    int place = 0;
    while (reader->bundle->readers[place] != reader)
        place++;
    return place;
}

awq_status awq__gpu_clip(awq__block *block);
typedef struct awq__gpu_codes awq__gpu_codes;
/* The squared error of an expert's output on its sample with these codes of its readers. */
awq_status awq__gpu_codes_error(awq__frame *frame, const awq__block *block,
                                const awq__bundle *bundle, const awq__gpu_codes *codes,
                                double *error);

/* ---- gpu_codes.c ---- */

/* Codes of a reader on the device, as awq__codes. */
struct awq__gpu_codes {
    uint8_t *codes, *zeros;
    float *scales;
    int32_t *bad; /* scales that are not finite */
};
/* Room for them, in the frame. */
awq_status awq__gpu_codes_create(awq__frame *frame, const awq__reader *reader,
                                 awq__gpu_codes *codes);
/* Rounds the folded weight to nearest, within the ranges of a clipped bundle. */
awq_status awq__gpu_to_nearest(awq__frame *frame, const awq__block *block,
                               const awq__reader *reader, const awq__gpu_codes *codes);
/* AWQ_ERROR_NUMERIC if a scale does not fit its stored type. */
awq_status awq__gpu_codes_read(awq__frame *frame, const awq__reader *reader,
                               const awq__gpu_codes *from, awq__codes *codes);

/* ---- gpu_round.c ---- */

awq_status awq__gpu_round(awq__block *block, awq__bundle *bundle, awq__codes *codes);
awq_status awq__gpu_round_reader(awq__block *block, const awq__reader *reader, awq__codes *codes);

/* Its operations; see backend.h. */
extern const awq__backend awq__backend_gpu;

#endif
