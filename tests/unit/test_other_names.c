/* Checkpoints whose tensors have other names than the description: read as the same model, whose
   result has the description's names. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "context.h"
#include "model/model.h"
#include "rules.h"
#include "temp_files.h"

#define MIXTRAL AWQ_TEST_DATA "/mixtral-tiny"

/* ---- the tiny Mixtral in other layouts ---- */

/* What a tensor is called; w1 and w3 of all experts may be one. */
typedef struct layout {
    const char *block, *gate, *up, *down; /* "block_sparse_moe", "w1" ... */
    bool fused;
} layout;

static const layout hub = {"block_sparse_moe", "w1", "w3", "w2", false};

static void rename_one(const layout *l, const char *name, char out[256])
{
    const char *at = strstr(name, hub.block);
    const char *parts[][2] = {{".w1.", l->gate}, {".w2.", l->down}, {".w3.", l->up}};
    snprintf(out, 256, "%s", name);
    if (!at)
        return;
    snprintf(out, 256, "%.*s%s%s", (int)(at - name), name, l->block, at + strlen(hub.block));
    for (int i = 0; i < 3; i++) {
        char *part = strstr(out, parts[i][0]), rest[256];
        if (!part)
            continue;
        snprintf(rest, sizeof rest, ".%s.%s", parts[i][1], part + strlen(parts[i][0]));
        snprintf(part, (size_t)(256 - (part - out)), "%s", rest);
    }
}

static const awq__tensor *expert_tensor(const awq__checkpoint *tiny, int layer, int e,
                                        const char *part)
{
    char name[256];
    snprintf(name, sizeof name, "model.layers.%d.block_sparse_moe.experts.%d.%s.weight", layer, e,
             part);
    return awq__checkpoint_find(tiny, name);
}

/* gate_up_proj [E, 2I, H], or down_proj [E, H, I]; of a first call the declaration. */
static void write_fused(fixture *f, const awq__checkpoint *tiny, awq__output *output, int layer,
                        bool down, bool write)
{
    char name[256];
    int experts = 0;
    snprintf(name, sizeof name, "model.layers.%d.mlp.experts.%s", layer,
             down ? "down_proj" : "gate_up_proj");
    while (expert_tensor(tiny, layer, experts, "w1"))
        experts++;
    const awq__tensor *first = expert_tensor(tiny, layer, 0, down ? "w2" : "w1");
    const int64_t shape[] = {experts, first->shape[0] * (down ? 1 : 2), first->shape[1]};
    size_t bytes = first->bytes, total = (size_t)experts * bytes * (down ? 1 : 2);
    if (!write) {
        succeeds(f->ctx, awq__output_declare(output, name, first->dtype, 3, shape));
        return;
    }
    uint8_t *data = malloc(total);
    assert_non_null(data);
    for (int e = 0, at = 0; e < experts; e++)
        for (int part = down ? 2 : 0; part < (down ? 3 : 2); part++, at++) {
            static const char *const parts[] = {"w1", "w3", "w2"};
            succeeds(f->ctx, awq__tensor_read(f->ctx, expert_tensor(tiny, layer, e, parts[part]), 0,
                                              bytes, data + (size_t)at * bytes));
        }
    succeeds(f->ctx, awq__output_write(output, name, data, total));
    free(data);
}

static void write_tensors(fixture *f, const awq__checkpoint *tiny, const layout *l,
                          awq__output *output, bool write)
{
    for (size_t i = 0; i < awq__checkpoint_count(tiny); i++) {
        const awq__tensor *t = awq__checkpoint_at(tiny, i);
        char name[256];
        if (l->fused && strstr(t->name, ".experts."))
            continue;
        rename_one(l, t->name, name);
        succeeds(f->ctx, write ? awq__output_write_from(output, name, 0, t, 0, t->bytes)
                               : awq__output_declare(output, name, t->dtype, t->rank, t->shape));
    }
    for (int layer = 0; l->fused && expert_tensor(tiny, layer, 0, "w1"); layer++)
        for (int down = 0; down < 2; down++)
            write_fused(f, tiny, output, layer, down != 0, write);
}

static void write_model(fixture *f, const char *directory, const layout *l)
{
    awq__checkpoint *tiny;
    awq__output *output;
    succeeds(f->ctx, awq__checkpoint_open(f->ctx, MIXTRAL, &tiny));
    succeeds(f->ctx, awq__output_begin(f->ctx, path_of(f, directory), false, &output));
    write_tensors(f, tiny, l, output, false);
    succeeds(f->ctx, awq__output_layout(output, (uint64_t)1 << 30));
    write_tensors(f, tiny, l, output, true);
    succeeds(f->ctx, awq__output_copy(output, MIXTRAL "/config.json"));
    succeeds(f->ctx, awq__output_copy(output, MIXTRAL "/tokenizer.json"));
    succeeds(f->ctx, awq__output_commit(output));
    awq__output_free(output);
    awq__checkpoint_free(tiny);
}

/* ---- what is read and written ---- */

static void quantize(fixture *f, const char *model, const char *out)
{
    awq_recipe *recipe;
    char place[2048];
    snprintf(place, sizeof place, "%s", path_of(f, out));
    succeeds(f->ctx, awq_recipe_create(f->ctx, &recipe));
    set_options(f->ctx, recipe,
                PAIRS("model", model, "output", place, "format", "compressed-tensors",
                      "quantize.method", "rtn"));
    succeeds(f->ctx, awq_quantize(f->ctx, recipe, NULL, NULL));
    awq_recipe_free(recipe);
}

static void assert_same_file(fixture *f, const char *a, const char *b)
{
    size_t a_bytes, b_bytes;
    char *one = read_file(f, a, &a_bytes), *other = read_file(f, b, &b_bytes);
    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(one, other, a_bytes);
    awq__free(one);
    awq__free(other);
}

/* Stands before the library's own (-Wl,--wrap), on its thread too. */
size_t __real_awq__checkpoint_read_ahead(const awq__checkpoint *checkpoint, const char *stem);
size_t __wrap_awq__checkpoint_read_ahead(const awq__checkpoint *checkpoint, const char *stem);
static _Atomic int read_ahead_of_nothing;

size_t __wrap_awq__checkpoint_read_ahead(const awq__checkpoint *checkpoint, const char *stem)
{
    size_t count = __real_awq__checkpoint_read_ahead(checkpoint, stem);
    read_ahead_of_nothing += !count && !strstr(stem, ".experts.");
    return count;
}

static void other_names_are_read_as_the_same_model(void **state)
{
    static const layout layouts[] = {
        {"mlp", "w1", "w3", "w2", false},
        {"block_sparse_moe", "gate_proj", "up_proj", "down_proj", false},
        {"mlp", "gate_proj", "up_proj", "down_proj", false},
        {"mlp", "", "", "", true},
    };
    fixture *f = *state;
    char path[2048];
    succeeds(f->ctx, awq_context_add_plugin_path(f->ctx, AWQ_TEST_PLUGINS));
    quantize(f, MIXTRAL, "usual");
    for (size_t i = 0; i < sizeof layouts / sizeof *layouts; i++) {
        write_model(f, "model", &layouts[i]);
        snprintf(path, sizeof path, "%s", path_of(f, "model"));
        quantize(f, path, "out");
        assert_int_equal(read_ahead_of_nothing, 0);
        assert_same_file(f, "out/model.safetensors", "usual/model.safetensors");
        assert_same_file(f, "out/config.json", "usual/config.json");
        succeeds(f->ctx, awq__clear_directory(f->ctx, path, NULL));
        assert_int_equal(rmdir(path), 0);
        succeeds(f->ctx, awq__clear_directory(f->ctx, path_of(f, "out"), NULL));
        assert_int_equal(rmdir(path_of(f, "out")), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(other_names_are_read_as_the_same_model, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
