/* Post-processors: special tokens before and behind a text. */
#include "text/text_internal.h"

#include <string.h>

static const char template_name[] = "post-processor TemplateProcessing";

void awq__template_free(awq__template *around)
{
    awq__free(around->before.data);
    awq__free(around->after.data);
    *around = (awq__template){0};
}

/* {"SpecialToken": {"id": name}}: the ids that special_tokens gives the name. */
static awq_status append_special(const awq__source *source, const cJSON *piece,
                                 const cJSON *special, awq__ids *ids)
{
    const char *name;
    AWQ__CHECK(awq__field_names(source, piece, template_name, "id type_id"));
    AWQ__CHECK(awq__field_string(source, piece, template_name, "id", false, &name));
    const cJSON *list = awq__field(awq__field(special, name), "ids"), *item;
    if (!cJSON_IsArray(list))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: %s: \"special_tokens\" has no ids for \"%s\"", source->file,
                         template_name, name);
    cJSON_ArrayForEach(item, list)
    {
        int32_t id;
        AWQ__CHECK(awq__field_id(source, item, name, &id));
        AWQ__CHECK(awq__ids_append(source->ctx, ids, id));
    }
    return AWQ_OK;
}

/* {"Sequence": {"id": "A"}}: where the text stands. */
static awq_status check_text(const awq__source *source, const cJSON *piece, bool seen)
{
    const char *name;
    AWQ__CHECK(awq__field_names(source, piece, template_name, "id type_id"));
    AWQ__CHECK(awq__field_string(source, piece, template_name, "id", false, &name));
    if (seen || strcmp(name, "A"))
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: %s: a single text that is not \"A\" once", source->file,
                         template_name);
    return AWQ_OK;
}

static awq_status load_processing(const awq__source *source, const cJSON *item,
                                  awq__template *around)
{
    bool seen = false;
    AWQ__CHECK(awq__field_names(source, item, template_name, "type single pair special_tokens"));
    const cJSON *single = awq__field(item, "single"), *piece;
    if (!cJSON_IsArray(single))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT, "%s: %s: \"single\" is not an array",
                         source->file, template_name);
    cJSON_ArrayForEach(piece, single)
    {
        AWQ__CHECK(awq__field_names(source, piece, template_name, "SpecialToken Sequence"));
        const cJSON *token = awq__field(piece, "SpecialToken");
        if (token) {
            AWQ__CHECK(append_special(source, token, awq__field(item, "special_tokens"),
                                      seen ? &around->after : &around->before));
        } else {
            AWQ__CHECK(check_text(source, awq__field(piece, "Sequence"), seen));
            seen = true;
        }
    }
    return seen ? AWQ_OK
                : awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                            "%s: %s: \"single\" leaves out the text", source->file, template_name);
}

/* One processor. *templates counts those that add tokens: two of them would nest. */
static awq_status load_one(const awq__source *source, const cJSON *item, awq__template *around,
                           int *templates)
{
    const char *type;
    AWQ__CHECK(awq__field_type(source, item, "post-processor", &type));
    if (!strcmp(type, "ByteLevel")) /* moves offsets, no ids */
        return awq__field_names(source, item, "post-processor ByteLevel",
                                "type add_prefix_space trim_offsets use_regex");
    if (strcmp(type, "TemplateProcessing") || (*templates)++)
        return awq__fail(source->ctx, AWQ_ERROR_UNSUPPORTED,
                         "%s: the post-processor \"%s\"%s is not supported", source->file, type,
                         *templates ? " after another TemplateProcessing" : "");
    return load_processing(source, item, around);
}

static awq_status load(const awq__source *source, const cJSON *item, awq__template *around,
                       int *templates)
{
    const cJSON *list, *step;
    const char *type;
    AWQ__CHECK(awq__field_type(source, item, "post-processor", &type));
    if (strcmp(type, "Sequence"))
        return load_one(source, item, around, templates);
    AWQ__CHECK(awq__field_names(source, item, "post-processor Sequence", "type processors"));
    list = awq__field(item, "processors");
    if (!cJSON_IsArray(list))
        return awq__fail(source->ctx, AWQ_ERROR_FORMAT,
                         "%s: post-processor Sequence: \"processors\" is not an array",
                         source->file);
    cJSON_ArrayForEach(step, list)
    {
        AWQ__CHECK(load(source, step, around, templates));
    }
    return AWQ_OK;
}

awq_status awq__template_load(const awq__source *source, const cJSON *item, awq__template *around)
{
    int templates = 0;
    return !item || cJSON_IsNull(item) ? AWQ_OK : load(source, item, around, &templates);
}
