/* The template, compiled against the header of ABI minor 1. */
#include "plugin_minor1.h"

#include "../../../plugins/template/template.c"

_Static_assert(AWQ_PLUGIN_ABI_MINOR == 1, "the template has included another header");
