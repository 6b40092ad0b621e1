// SPDX-License-Identifier: GPL-2.0
/*
 * A module that is wrong on purpose, so that the tests can show that the guest's
 * kernel notices and that a run in which it does counts as a failure.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/spinlock.h>

static char *what = "nothing";
module_param(what, charp, 0);
MODULE_PARM_DESC(what, "warn, leak, atomic, order or stale");

static DEFINE_SPINLOCK(first);
static DEFINE_SPINLOCK(second);

/* Takes the two locks in one order, then in the other. */
static void order(void)
{
	spin_lock(&first);
	spin_lock(&second);
	spin_unlock(&second);
	spin_unlock(&first);

	spin_lock(&second);
	spin_lock(&first);
	spin_unlock(&first);
	spin_unlock(&second);
}

/* Sleeps where that is not allowed. */
static void atomic(void)
{
	spin_lock(&first);
	msleep(1);
	spin_unlock(&first);
}

/*
 * Loses memory: so often that the allocator has forgotten where, for what it handed
 * out last is still noted in its own lists, and counts as referenced.
 */
static void leak(void)
{
	int i;

	for (i = 0; i < 1000; i++) {
		void *volatile lost = kmalloc(96, GFP_KERNEL);

		lost = NULL;
		(void)lost;
	}
}

/* Reads memory that it has given back. */
static void stale(void)
{
	char *volatile bytes = kzalloc(24, GFP_KERNEL);

	kfree(bytes);
	if (bytes)
		pr_info("broken: %d\n", bytes[0]);
}

static int __init broken_init(void)
{
	WARN_ON(!strcmp(what, "warn"));
	if (!strcmp(what, "leak"))
		leak();
	if (!strcmp(what, "atomic"))
		atomic();
	if (!strcmp(what, "order"))
		order();
	if (!strcmp(what, "stale"))
		stale();
	return 0;
}

static void __exit broken_exit(void)
{
}

module_init(broken_init);
module_exit(broken_exit);
MODULE_DESCRIPTION("Wrong on purpose");
MODULE_LICENSE("GPL");
