#include "recipe_text.h"
#include "cli.h"

#include <stdio.h>
#include <string.h>

/* messages.c clears the progress line, which is not linked here. */
void progress_clear(void)
{
}

typedef struct listener {
    FILE *before, *file;
    char *text;
    size_t length;
} listener;

/* What is written to standard error from now on is kept. */
static void listen(listener *l)
{
    *l = (listener){.before = stderr};
    l->file = open_memstream(&l->text, &l->length);
    MUST(l->file);
    stderr = l->file;
}

/* And checked: a line for a refusal, else nothing. */
static void judge(listener *l, int code)
{
    stderr = l->before;
    MUST(fclose(l->file) == 0);
    MUST(code == DONE || code == WRONG_USAGE);
    if (code == DONE) {
        MUST(l->length == 0);
    } else {
        MUST(l->length && l->text[l->length - 1] == '\n');
        l->text[l->length - 1] = 0;
        MUST(!strncmp(l->text, "awqc: error: ", 13) && fuzz_is_clean(l->text));
    }
    free(l->text);
}

awq_recipe *fuzz_read_recipe(const char *text, size_t size, const char *base_dir)
{
    listener l;
    awq_recipe *recipe;
    yaml_source source = {"recipe.yaml", true, text, size, base_dir};
    MUST(awq_recipe_create(fuzz_context(), &recipe) == AWQ_OK);
    listen(&l);
    int code = yaml_read_recipe(fuzz_context(), recipe, &source);
    judge(&l, code);
    if (code == DONE)
        return recipe;
    awq_recipe_free(recipe);
    return NULL;
}

bool fuzz_read_list(awq_recipe *recipe, const char *option, const char *text, size_t size)
{
    listener l;
    yaml_source source = {"--set", false, text, size, NULL};
    listen(&l);
    int code = yaml_read_list(fuzz_context(), recipe, option, &source);
    judge(&l, code);
    return code == DONE;
}
