/*
 * Whole runs through a backend whose memory cannot be touched but by its own operations: they are
 * the CPU's, and only while one of them works are the arrays there. Whatever the host reads or
 * writes of them is counted, and must be nothing, as on a device that the host has no way into.
 */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "backend/backend.h"
#include "runs.h"

#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>

/* ---- the memory: a range of addresses that are used one after the other ---- */

#define ADDRESSES ((size_t)64 << 30)
#define PAGE ((size_t)4096)

static unsigned char *device;
static size_t used;
static long arrays, operations, working;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile sig_atomic_t touches;

static void protect(size_t first, size_t bytes, bool open)
{
    if (bytes && mprotect(device + first, bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE))
        abort();
}

static void *allocate(size_t bytes)
{
    size_t whole = (bytes + PAGE - 1) / PAGE * PAGE;
    void *array = NULL;
    pthread_mutex_lock(&lock);
    if (used + whole <= ADDRESSES) {
        array = device + used;
        protect(used, whole, working > 0);
        used += whole;
        arrays++;
    }
    pthread_mutex_unlock(&lock);
    return array;
}

static void release(void *array)
{
    (void)array;
    pthread_mutex_lock(&lock);
    arrays--;
    pthread_mutex_unlock(&lock);
}

static const awq__memory memory = {.allocate = allocate, .release = release};

/* A touch from outside: it is let pass once it is counted, so that one run finds all. */
static void see_touch(int signal, siginfo_t *info, void *context)
{
    (void)signal;
    (void)context;
    const unsigned char *at = info->si_addr;
    if (at < device || at >= device + ADDRESSES)
        _exit(139);
    touches++;
    protect((size_t)(at - device) / PAGE * PAGE, PAGE, true);
}

/* In the test itself: cmocka has a handler of its own until it runs. */
static void watch(void)
{
    struct sigaction action = {.sa_sigaction = see_touch, .sa_flags = SA_SIGINFO};
    assert_int_equal(sigaction(SIGSEGV, &action, NULL), 0);
}

/* ---- the operations: those of the CPU, between opening and closing the memory ---- */

static void begin(void)
{
    pthread_mutex_lock(&lock);
    operations++;
    if (!working++)
        protect(0, used, true);
    pthread_mutex_unlock(&lock);
}

static void end(void)
{
    pthread_mutex_lock(&lock);
    if (!--working)
        protect(0, used, false);
    pthread_mutex_unlock(&lock);
}

static awq_status ended(awq_status status)
{
    end();
    return status;
}

#define CPU(operation) (begin(), ended(awq__backend_cpu.operation))

/* Layers that are there: operations may ask for no other. Streams of the source, of the reference
   and of the result have one each at most. */
static const awq__layer *layers[8];
static long foreign_layers;

static awq_status layer_begin(awq_context *ctx, const awq__layer *layer)
{
    size_t i = 0;
    while (i < 8 && layers[i])
        i++;
    assert_true(i < 8);
    layers[i] = layer;
    return CPU(layer_begin(ctx, layer));
}

static void layer_end(awq_context *ctx, const awq__layer *layer)
{
    (void)ctx;
    for (size_t i = 0; i < 8; i++)
        if (layers[i] == layer)
            layers[i] = NULL;
}

static void see_layer(const awq__layer *layer)
{
    for (size_t i = 0; i < 8; i++)
        if (layers[i] == layer)
            return;
    foreign_layers++;
}

static awq_status states_create(awq_context *ctx, const awq_arch_model *model,
                                const awq__sequences *sequences, const awq__weight *embedding,
                                awq__states **states)
{
    return CPU(states_create(ctx, model, sequences, embedding, states));
}

static void states_free(awq__states *states)
{
    begin();
    awq__backend_cpu.states_free(states);
    end();
}

static awq_status attention(awq__states *states, const awq__layer *layer)
{
    see_layer(layer);
    return CPU(attention(states, layer));
}

static awq_status route(awq__states *states, const awq__layer *layer, awq__routes *routes)
{
    see_layer(layer);
    return CPU(route(states, layer, routes));
}

static awq_status experts(awq__states *states, const awq__layer *layer, const awq__routes *routes)
{
    see_layer(layer);
    return CPU(experts(states, layer, routes));
}

static awq_status sum_squares(awq__states *states, double *sum)
{
    return CPU(sum_squares(states, sum));
}

static awq_status compare_logits(const awq__head *judged, const awq__head *reference,
                                 const int32_t *targets, awq__logit_stats *stats)
{
    return CPU(compare_logits(judged, reference, targets, stats));
}

static awq_status block_begin(awq__block *block)
{
    see_layer(block->layer);
    return CPU(block_begin(block));
}

static void block_end(awq__block *block)
{
    begin();
    awq__backend_cpu.block_end(block);
    end();
}

static awq_status pass(awq__block *block)
{
    return CPU(pass(block));
}

static awq_status statistics(awq__block *block)
{
    return CPU(statistics(block));
}

static awq_status search(awq__block *block)
{
    return CPU(search(block));
}

static awq_status scheme_losses(awq__block *block, const int64_t *readers, int64_t count,
                                const awq__scheme *schemes, int64_t choices, double *losses)
{
    return CPU(scheme_losses(block, readers, count, schemes, choices, losses));
}

static awq_status prove(awq__block *block, awq__proof *proof)
{
    return CPU(prove(block, proof));
}

static awq_status clip(awq__block *block)
{
    return CPU(clip(block));
}

static void drop_ranges(awq__block *block)
{
    begin();
    awq__backend_cpu.drop_ranges(block);
    end();
}

static awq_status round_bundle(awq__block *block, awq__bundle *bundle, awq__codes *codes)
{
    return CPU(round(block, bundle, codes));
}

static awq_status round_reader(awq__block *block, const awq__reader *reader, awq__codes *codes)
{
    return CPU(round_reader(block, reader, codes));
}

static awq__backend make_probe(void)
{
    awq__backend probe = awq__backend_cpu;
    watch();
    probe.memory = &memory;
    probe.layer_begin = layer_begin;
    probe.layer_end = layer_end;
    probe.states_create = states_create;
    probe.states_free = states_free;
    probe.attention = attention;
    probe.route = route;
    probe.experts = experts;
    probe.sum_squares = sum_squares;
    probe.compare_logits = compare_logits;
    probe.block_begin = block_begin;
    probe.block_end = block_end;
    probe.pass = pass;
    probe.statistics = statistics;
    probe.search = search;
    probe.scheme_losses = scheme_losses;
    probe.prove = prove;
    probe.clip = clip;
    probe.drop_ranges = drop_ranges;
    probe.round = round_bundle;
    probe.round_reader = round_reader;
    return probe;
}

/* ---- runs ---- */

static void assert_untouched(void)
{
    assert_true(operations > 10);
    assert_int_equal(touches, 0);
    assert_int_equal(arrays, 0); /* all released */
    assert_int_equal(foreign_layers, 0);
    for (size_t i = 0; i < 8; i++)
        assert_null(layers[i]);
}

/* The same result as by the CPU's own backend, with one thread, so that no touch falls into an
   operation of another. */
static void check(const fixture *f, const char *model, const char *const *options)
{
    char path[1100], kept[1100];
    awq__backend probe = make_probe();
    awq_quantize_options how = {.struct_size = sizeof how};
    snprintf(path, sizeof path, "%s/%s", AWQ_TEST_DATA, model);
    awq_recipe *recipe = short_recipe(f, path);
    for (; *options; options += 2)
        assert_ok(f, awq_recipe_set(recipe, options[0], options[1], NULL));
    assert_ok(f, awq_context_set_threads(f->ctx, 1));
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, NULL));
    snprintf(kept, sizeof kept, "%s.kept", output);
    assert_int_equal(rename(output, kept), 0);
    awq__backend_use(f->ctx, &probe);
    assert_ok(f, awq_quantize(f->ctx, recipe, &how, NULL));
    awq_recipe_free(recipe);
    assert_untouched();
    assert_same_file(f, output, kept, "model.safetensors");
    assert_same_file(f, output, kept, "awq_report.json");
}

static void mixtral(void **state)
{
    check(*state, "mixtral-tiny",
          (const char *const[]){"quantize.modules", "*", "quantize.sketch_rows", "64", NULL});
}

static void qwen2_moe(void **state)
{
    check(*state, "qwen2_moe-tiny", (const char *const[]){"quantize.rounding", "gptq", NULL});
}

static void qwen3_moe(void **state)
{
    check(*state, "qwen3_moe-tiny",
          (const char *const[]){"quantize.modules", "*", "quantize.method", "gptq", NULL});
}

static void gpt_oss(void **state)
{
    check(*state, "gpt_oss-tiny", (const char *const[]){NULL});
}

static void mixed_precision(void **state)
{
    check(
        *state, "qwen3_moe-tiny",
        (const char *const[]){"quantize.target_bits", "4.5", "format", "compressed-tensors", NULL});
}

static void rounding_alone(void **state)
{
    const fixture *f = *state;
    awq__backend probe = make_probe();
    awq_recipe *recipe = short_recipe(f, AWQ_TEST_DATA "/qwen2_moe-tiny");
    assert_ok(f, awq_recipe_set(recipe, "quantize.method", "rtn", NULL));
    awq__backend_use(f->ctx, &probe);
    assert_ok(f, awq_quantize(f->ctx, recipe, NULL, NULL));
    awq_recipe_free(recipe);
    assert_untouched();
}

static void evaluation(void **state)
{
    const fixture *f = *state;
    const char *model = AWQ_TEST_DATA "/qwen2_moe-tiny",
               *texts[] = {AWQ_TEST_DATA "/qwen2_moe-tiny/eval.txt"};
    const awq_eval_options options = {.struct_size = sizeof options,
                                      .directory = model,
                                      .reference = model,
                                      .texts = texts,
                                      .text_count = 1,
                                      .windows = 2};
    awq__backend probe = make_probe();
    awq_eval_result result;
    awq__backend_use(f->ctx, &probe);
    assert_ok(f, awq_evaluate(f->ctx, &options, &result));
    assert_true(result.kl == 0 && result.top1_agreement == 1);
    assert_untouched();
}

/* What the host must not do is seen where it does it. */
static void a_touch_is_counted(void **state)
{
    (void)state;
    volatile unsigned char *array = allocate(PAGE);
    watch();
    assert_non_null(array);
    array[5] = 1;
    release((void *)(uintptr_t)array);
    assert_int_equal(touches, 1);
}

static int set_up_probe(void **state)
{
    if (set_up_run(state))
        return -1;
    used = 0;
    arrays = operations = working = 0;
    touches = 0;
    foreign_layers = 0;
    memset(layers, 0, sizeof layers);
    device = mmap(NULL, ADDRESSES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return device == MAP_FAILED;
}

static int tear_down_probe(void **state)
{
    munmap(device, ADDRESSES);
    return tear_down(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_touch_is_counted, set_up_probe, tear_down_probe),
        cmocka_unit_test_setup_teardown(mixtral, set_up_probe, tear_down_probe),
        cmocka_unit_test_setup_teardown(qwen2_moe, set_up_probe, tear_down_probe),
        cmocka_unit_test_setup_teardown(qwen3_moe, set_up_probe, tear_down_probe),
        cmocka_unit_test_setup_teardown(gpt_oss, set_up_probe, tear_down_probe),
        cmocka_unit_test_setup_teardown(mixed_precision, set_up_probe, tear_down_probe),
        cmocka_unit_test_setup_teardown(rounding_alone, set_up_probe, tear_down_probe),
        cmocka_unit_test_setup_teardown(evaluation, set_up_probe, tear_down_probe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
