/* What the library itself reads from a recipe: values as text, the check, and YAML for provenance.
 */
#ifndef AWQ__RECIPE_H
#define AWQ__RECIPE_H

#include "core/core.h"
#include "awq/awq.h"

/* Of an option of the table: the value in force, set or default, which was checked when it was set;
   "" where unset and without a default. Borrowed until the option is changed. */
const char *awq__recipe_text(const awq_recipe *recipe, const char *name);
/* A list's values, never NULL; borrowed until the option is changed. */
const char *const *awq__recipe_list(const awq_recipe *recipe, const char *name, size_t *count);

/* AWQ_ERROR_RECIPE that names every missing option. Every function that runs a recipe calls it
 * first. */
awq_status awq__recipe_check(const awq_recipe *recipe);
/* Appends the recipe in force, defaults included, as YAML that reads back (with no base directory)
   to the same values. */
awq_status awq__recipe_yaml(awq_context *ctx, const awq_recipe *recipe, awq__text *out);

/* awq_recipe_set_source; NULL if it was not. */
const char *awq__recipe_source(const awq_recipe *recipe);
/* Was the option set, or is its default in force? */
bool awq__recipe_says(const awq_recipe *recipe, const char *name);
/* Are schemes to be chosen within a size? */
bool awq__recipe_has_target(const awq_recipe *recipe);
/* Does some method it names need activations? */
bool awq__recipe_calibrates(const awq_recipe *recipe);
/* The values in force, set or default: *count texts. */
const char *const *awq__recipe_values(const awq_recipe *recipe, const awq_option *option,
                                      size_t *count);
bool awq__option_is_list(const awq_option *option);
bool awq__option_is_path(const awq_option *option);

/* "samples" of "calibration.samples". */
const char *awq__option_last_part(const char *name);

#endif
