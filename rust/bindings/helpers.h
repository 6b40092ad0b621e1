/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What of the kernel's C interface is an inline function or a macro, as functions that
 * Rust can call, and as constants that it can read. No logic lives here.
 */
#ifndef RUST_FUSE_HELPERS_H
#define RUST_FUSE_HELPERS_H

#include <linux/fs.h>
#include <linux/pagemap.h>

struct inode *rust_fuse_d_inode(const struct dentry *dentry);

#endif
