// SPDX-License-Identifier: GPL-2.0
#include "helpers.h"

struct inode *rust_fuse_d_inode(const struct dentry *dentry)
{
	return d_inode(dentry);
}
