/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What bindgen reads: the headers of the interfaces that kernel::bindings lacks,
 * and our own helpers. Which items of them become Rust is in `parameters`.
 */
#include <linux/backing-dev.h>
#include <linux/exportfs.h>
#include <linux/filelock.h>
#include <linux/falloc.h>
#include <linux/fileattr.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_parser.h>
#include <linux/iomap.h>
#include <linux/pagemap.h>
#include <linux/pipe_fs_i.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/sched/stat.h>
#include <linux/splice.h>
#include <linux/statfs.h>
#include <linux/uio.h>
#include <linux/writeback.h>

#include "helpers.c"
#include "trace.h"
