/* The CLI's reader of recipes, for the targets that begin with one. */
#ifndef RECIPE_TEXT_H
#define RECIPE_TEXT_H

#include "fuzz.h"

/* Reads the text into a new recipe, with paths taken from base_dir; NULL where it is refused, which
   the CLI tells in one clean line on standard error, and only then. */
awq_recipe *fuzz_read_recipe(const char *text, size_t size, const char *base_dir);
/* The same of a list such as [a, "b"], into an option of the recipe. */
bool fuzz_read_list(awq_recipe *recipe, const char *option, const char *text, size_t size);

#endif
