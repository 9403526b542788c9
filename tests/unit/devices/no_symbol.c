/* No plugin at all. */
extern int nothing_of_a_device;
int nothing_of_a_device = 1;
