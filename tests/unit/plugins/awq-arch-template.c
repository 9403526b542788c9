/* The template, which is not installed, as a module that a search finds. */
#include "../../../plugins/template/template.c"
