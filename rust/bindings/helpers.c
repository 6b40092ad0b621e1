// SPDX-License-Identifier: GPL-2.0
/*
 * What of the kernel's C interface is an inline function or a macro, as functions that
 * Rust can call, and as constants that it can read. No logic lives here.
 *
 * bindgen reads this file too: `rust_fuse_NAME` becomes the Rust function `NAME`, and
 * `RUST_FUSE_CONST_NAME` the constant `NAME`.
 */
#include <linux/backing-dev.h>
#include <linux/compat.h>
#include <linux/cred.h>
#include <linux/filelock.h>
#include <linux/fs.h>
#include <linux/fs_context.h>
#include <linux/fs_struct.h>
#include <linux/highmem.h>
#include <linux/iomap.h>
#include <linux/namei.h>
#include <linux/pagemap.h>
#include <linux/pid_namespace.h>
#include <linux/pipe_fs_i.h>
#include <linux/poll.h>
#include <linux/posix_acl.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/security.h>
#include <linux/slab.h>
#include <linux/splice.h>
#include <linux/task_io_accounting_ops.h>
#include <linux/uaccess.h>
#include <linux/uio.h>
#include <linux/user_namespace.h>
#include <linux/workqueue.h>
#include <linux/writeback.h>

/* Constants. */

const unsigned int RUST_FUSE_CONST_TASK_FREEZABLE_UNSAFE = TASK_FREEZABLE_UNSAFE;
const int RUST_FUSE_CONST_IOCB_NOWAIT = IOCB_NOWAIT;
const int RUST_FUSE_CONST_IOCB_DIRECT = IOCB_DIRECT;
const int RUST_FUSE_CONST_IOCB_SYNC = IOCB_SYNC;
const int RUST_FUSE_CONST_IOCB_APPEND = IOCB_APPEND;
const unsigned int RUST_FUSE_CONST_FL_FLOCK = FL_FLOCK;
const unsigned int RUST_FUSE_CONST_FL_SLEEP = FL_SLEEP;
const unsigned int RUST_FUSE_CONST_FL_OFDLCK = FL_OFDLCK;
const int RUST_FUSE_CONST_FILE_LOCK_DEFERRED = FILE_LOCK_DEFERRED;
const unsigned int RUST_FUSE_CONST_PAGE_SHIFT = PAGE_SHIFT;
const fmode_t RUST_FUSE_CONST_FMODE_WRITE = FMODE_WRITE;
const loff_t RUST_FUSE_CONST_MAX_LFS_FILESIZE = MAX_LFS_FILESIZE;

/* Credentials and namespaces. */

struct user_namespace *rust_fuse_get_user_ns(struct user_namespace *ns)
{
	return get_user_ns(ns);
}

void rust_fuse_put_user_ns(struct user_namespace *ns)
{
	put_user_ns(ns);
}

kuid_t rust_fuse_current_fsuid(void)
{
	return current_fsuid();
}

kgid_t rust_fuse_current_fsgid(void)
{
	return current_fsgid();
}

vfsgid_t rust_fuse_i_gid_into_vfsgid(struct mnt_idmap *idmap, const struct inode *inode)
{
	return i_gid_into_vfsgid(idmap, inode);
}

bool rust_fuse_vfsgid_eq_kgid(vfsgid_t vfsgid, kgid_t kgid)
{
	return vfsgid_eq_kgid(vfsgid, kgid);
}

int rust_fuse_security_dentry_init_security(struct dentry *dentry, int mode, const char **name,
					    struct lsm_context *context)
{
	return security_dentry_init_security(dentry, mode, &dentry->d_name, name, context);
}

void rust_fuse_security_release_secctx(struct lsm_context *context)
{
	security_release_secctx(context);
}

int rust_fuse_current_umask(void)
{
	return current_umask();
}

/* Inodes and dentries. */

struct dentry *rust_fuse_file_dentry_of(const struct file *file)
{
	return file->f_path.dentry;
}

struct mnt_idmap *rust_fuse_file_mnt_idmap(const struct file *file)
{
	return file_mnt_idmap(file);
}

struct inode *rust_fuse_d_inode(const struct dentry *dentry)
{
	return d_inode(dentry);
}

struct inode *rust_fuse_d_inode_rcu(const struct dentry *dentry)
{
	return d_inode_rcu(dentry);
}

struct dentry *rust_fuse_dget(struct dentry *dentry)
{
	return dget(dentry);
}

spinlock_t *rust_fuse_d_lock_of(struct dentry *dentry)
{
	return &dentry->d_lock;
}

bool rust_fuse_d_in_lookup(const struct dentry *dentry)
{
	return d_in_lookup(dentry);
}

void rust_fuse_d_lookup_done(struct dentry *dentry)
{
	d_lookup_done(dentry);
}

bool rust_fuse_d_mountpoint(const struct dentry *dentry)
{
	return d_mountpoint(dentry);
}

void rust_fuse_dont_mount(struct dentry *dentry)
{
	dont_mount(dentry);
}

/* Zeroes, that go when unused names do. */
void *rust_fuse_alloc_dentry_data(size_t size)
{
	return kzalloc(size, GFP_KERNEL_ACCOUNT | __GFP_RECLAIMABLE);
}

void *rust_fuse_alloc_inode_sb(struct super_block *sb, struct kmem_cache *cache, gfp_t gfp)
{
	return alloc_inode_sb(sb, cache, gfp);
}

enum inode_state_flags_enum rust_fuse_inode_state_read_once(struct inode *inode)
{
	return inode_state_read_once(inode);
}

void rust_fuse_remove_inode_hash(struct inode *inode)
{
	remove_inode_hash(inode);
}

loff_t rust_fuse_i_size_read(const struct inode *inode)
{
	return i_size_read(inode);
}

void rust_fuse_i_size_write(struct inode *inode, loff_t size)
{
	i_size_write(inode, size);
}

struct timespec64 rust_fuse_inode_get_ctime(const struct inode *inode)
{
	return inode_get_ctime(inode);
}

struct timespec64 rust_fuse_inode_get_mtime(const struct inode *inode)
{
	return inode_get_mtime(inode);
}

void rust_fuse_inode_set_atime(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_atime(inode, sec, nsec);
}

void rust_fuse_inode_set_mtime(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_mtime(inode, sec, nsec);
}

void rust_fuse_inode_set_ctime(struct inode *inode, time64_t sec, long nsec)
{
	inode_set_ctime(inode, sec, nsec);
}

dev_t rust_fuse_new_decode_dev(u32 dev)
{
	return new_decode_dev(dev);
}

u32 rust_fuse_new_encode_dev(dev_t dev)
{
	return new_encode_dev(dev);
}

bool rust_fuse_dir_emit(struct dir_context *ctx, const char *name, int namelen, u64 ino,
			unsigned int type)
{
	return dir_emit(ctx, name, namelen, ino, type);
}

void rust_fuse_set_delayed_call(struct delayed_call *call, void (*fn)(void *), void *arg)
{
	set_delayed_call(call, fn, arg);
}

void rust_fuse_bdi_put(struct backing_dev_info *bdi)
{
	bdi_put(bdi);
}

/* The page cache. */

void rust_fuse_folio_get(struct folio *folio)
{
	folio_get(folio);
}

void rust_fuse_folio_put(struct folio *folio)
{
	folio_put(folio);
}

struct folio *rust_fuse_filemap_lock_folio(struct address_space *mapping, pgoff_t index)
{
	return filemap_lock_folio(mapping, index);
}

void rust_fuse_folio_mark_uptodate(struct folio *folio)
{
	folio_mark_uptodate(folio);
}

void rust_fuse_memcpy_from_folio(char *to, struct folio *folio, size_t offset, size_t len)
{
	memcpy_from_folio(to, folio, offset, len);
}

struct folio *rust_fuse_filemap_get_folio(struct address_space *mapping, pgoff_t index)
{
	return filemap_get_folio(mapping, index);
}

size_t rust_fuse_folio_size(const struct folio *folio)
{
	return folio_size(folio);
}

loff_t rust_fuse_folio_pos(const struct folio *folio)
{
	return folio_pos(folio);
}

size_t rust_fuse_copy_folio_from_iter(struct folio *folio, size_t offset, size_t bytes,
				      struct iov_iter *iter)
{
	return copy_page_from_iter(&folio->page, offset, bytes, iter);
}

size_t rust_fuse_copy_folio_to_iter(struct folio *folio, size_t offset, size_t bytes,
				    struct iov_iter *iter)
{
	return copy_folio_to_iter(folio, offset, bytes, iter);
}

struct folio *rust_fuse_filemap_get_folio_to_lock(struct address_space *mapping, pgoff_t index)
{
	return __filemap_get_folio(mapping, index, FGP_CREAT | FGP_FOR_MMAP,
				   mapping_gfp_mask(mapping));
}

int rust_fuse_folio_lock_killable(struct folio *folio)
{
	return folio_lock_killable(folio);
}

void *rust_fuse_folio_address(const struct folio *folio)
{
	return folio_address(folio);
}

void rust_fuse_memcpy_to_folio(struct folio *folio, size_t offset, const char *from, size_t len)
{
	memcpy_to_folio(folio, offset, from, len);
}

void rust_fuse_folio_zero_range(struct folio *folio, size_t start, size_t length)
{
	folio_zero_range(folio, start, length);
}

void rust_fuse_flush_dcache_page(struct page *page)
{
	flush_dcache_page(page);
}

void rust_fuse_flush_dcache_folio(struct folio *folio)
{
	flush_dcache_folio(folio);
}

struct folio *rust_fuse_filemap_get_folio_to_write(struct address_space *mapping,
						   unsigned long index)
{
	return __filemap_get_folio(mapping, index, FGP_WRITEBEGIN, mapping_gfp_mask(mapping));
}

bool rust_fuse_folio_test_uptodate(const struct folio *folio)
{
	return folio_test_uptodate(folio);
}

/* Writing. */

const u16 RUST_FUSE_CONST_IOMAP_MAPPED = IOMAP_MAPPED;

bool rust_fuse_writeback_is_waited_for(const struct writeback_control *wbc)
{
	return wbc->sync_mode == WB_SYNC_ALL;
}

void rust_fuse_mapping_set_error(struct address_space *mapping, int error)
{
	mapping_set_error(mapping, error);
}

void rust_fuse_mapping_set_writeback_may_deadlock_on_reclaim(struct address_space *mapping)
{
	mapping_set_writeback_may_deadlock_on_reclaim(mapping);
}

unsigned int rust_fuse_memalloc_nofs_save(void)
{
	return memalloc_nofs_save();
}

void rust_fuse_memalloc_nofs_restore(unsigned int flags)
{
	memalloc_nofs_restore(flags);
}

void rust_fuse_folio_lock(struct folio *folio)
{
	folio_lock(folio);
}

void rust_fuse_file_accessed(struct file *file)
{
	file_accessed(file);
}

ssize_t rust_fuse_splice_copy_file_range(struct file *in, loff_t in_position, struct file *out,
					 loff_t out_position, size_t len)
{
	return splice_copy_file_range(in, in_position, out, out_position, len);
}

bool rust_fuse_write_takes_set_ids(struct file *file)
{
	return setattr_should_drop_suidgid(file_mnt_idmap(file), file_inode(file));
}

bool rust_fuse_iocb_is_dsync(const struct kiocb *iocb)
{
	return iocb_is_dsync(iocb);
}

ssize_t rust_fuse_generic_write_sync(struct kiocb *iocb, ssize_t count)
{
	return generic_write_sync(iocb, count);
}

void rust_fuse_task_io_account_write(size_t bytes)
{
	task_io_account_write(bytes);
}

/* Changing attributes. */

kuid_t rust_fuse_iattr_kuid(struct mnt_idmap *idmap, struct user_namespace *ns,
			    const struct iattr *attr)
{
	return from_vfsuid(idmap, ns, attr->ia_vfsuid);
}

kgid_t rust_fuse_iattr_kgid(struct mnt_idmap *idmap, struct user_namespace *ns,
			    const struct iattr *attr)
{
	return from_vfsgid(idmap, ns, attr->ia_vfsgid);
}

bool rust_fuse_inode_in_group_or_capable(struct mnt_idmap *idmap, const struct inode *inode)
{
	return in_group_or_capable(idmap, inode, i_gid_into_vfsgid(idmap, inode));
}

void rust_fuse_posix_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}

/* The memory of tasks. */

void rust_fuse_pagefault_disable(void)
{
	pagefault_disable();
}

void rust_fuse_pagefault_enable(void)
{
	pagefault_enable();
}

/* Sleeping. */

void rust_fuse_set_current_state(unsigned int state)
{
	set_current_state(state);
}

bool rust_fuse_signal_pending_state(unsigned int state)
{
	return signal_pending_state(state, current);
}

pid_t rust_fuse_task_pid_nr_ns(struct task_struct *task, struct pid_namespace *ns)
{
	return task_pid_nr_ns(task, ns);
}

/* Constants of the VFS. */

const fmode_t RUST_FUSE_CONST_FMODE_OPENED = FMODE_OPENED;
const fmode_t RUST_FUSE_CONST_FMODE_CREATED = FMODE_CREATED;

const unsigned int RUST_FUSE_CONST_SB_MANDLOCK = SB_MANDLOCK;
const unsigned int RUST_FUSE_CONST_SB_RDONLY = SB_RDONLY;
const unsigned int RUST_FUSE_CONST_SB_POSIXACL = SB_POSIXACL;
const unsigned int RUST_FUSE_CONST_SB_ACTIVE = SB_ACTIVE;
const unsigned int RUST_FUSE_CONST_LOOKUP_RCU = LOOKUP_RCU;
const unsigned int RUST_FUSE_CONST_LOOKUP_EXCL = LOOKUP_EXCL;
const unsigned int RUST_FUSE_CONST_LOOKUP_REVAL = LOOKUP_REVAL;
const unsigned int RUST_FUSE_CONST_LOOKUP_RENAME_TARGET = LOOKUP_RENAME_TARGET;
const unsigned int RUST_FUSE_CONST_FILLDIR_FLAG_NOINTR = FILLDIR_FLAG_NOINTR;
const unsigned int RUST_FUSE_CONST_BDI_CAP_STRICTLIMIT = BDI_CAP_STRICTLIMIT;
const slab_flags_t RUST_FUSE_CONST_SLAB_INODE_FLAGS =
	SLAB_HWCACHE_ALIGN | SLAB_ACCOUNT | SLAB_RECLAIM_ACCOUNT;

/* Mounting and files. */

void rust_fuse_fs_context_error(struct fs_context *fc, const char *message)
{
	errorfc(fc, "%s", message);
}

void rust_fuse_inode_lock(struct inode *inode)
{
	inode_lock(inode);
}

int rust_fuse_inode_lock_parent_killable(struct inode *inode)
{
	return down_write_killable_nested(&inode->i_rwsem, I_MUTEX_PARENT);
}

void rust_fuse_inode_unlock(struct inode *inode)
{
	inode_unlock(inode);
}

void rust_fuse_inode_lock_shared(struct inode *inode)
{
	inode_lock_shared(inode);
}

void rust_fuse_inode_unlock_shared(struct inode *inode)
{
	inode_unlock_shared(inode);
}

void rust_fuse_inode_dont_cache_acls(struct inode *inode)
{
	inode->i_acl = inode->i_default_acl = ACL_DONT_CACHE;
}

bool rust_fuse_current_is_wholly(kuid_t uid, kgid_t gid)
{
	const struct cred *cred = current_cred();

	return uid_eq(cred->uid, uid) && uid_eq(cred->euid, uid) && uid_eq(cred->suid, uid) &&
	       gid_eq(cred->gid, gid) && gid_eq(cred->egid, gid) && gid_eq(cred->sgid, gid);
}

u64 rust_fuse_get_jiffies_64(void)
{
	return get_jiffies_64();
}

kuid_t rust_fuse_mapped_kuid(struct mnt_idmap *idmap, struct user_namespace *ns, kuid_t uid)
{
	return vfsuid_into_kuid(make_vfsuid(idmap, ns, uid));
}

kgid_t rust_fuse_mapped_kgid(struct mnt_idmap *idmap, struct user_namespace *ns, kgid_t gid)
{
	return vfsgid_into_kgid(make_vfsgid(idmap, ns, gid));
}

kuid_t rust_fuse_mapped_fsuid(struct mnt_idmap *idmap, struct user_namespace *ns)
{
	return mapped_fsuid(idmap, ns);
}

kgid_t rust_fuse_mapped_fsgid(struct mnt_idmap *idmap, struct user_namespace *ns)
{
	return mapped_fsgid(idmap, ns);
}

vm_flags_t rust_fuse_vma_flags_of(const struct vm_area_struct *vma)
{
	return vma->vm_flags;
}

struct vm_area_struct *rust_fuse_vm_fault_area(const struct vm_fault *fault)
{
	return fault->vma;
}

struct address_space *rust_fuse_folio_mapping_of(struct folio *folio)
{
	return folio->mapping;
}

bool rust_fuse_readahead_is_speculative(struct readahead_control *rac)
{
	return rac->ra->async_size >= readahead_count(rac);
}

void rust_fuse_init_delayed_work(struct delayed_work *work, work_func_t function)
{
	INIT_DELAYED_WORK(work, function);
}

/* Memory. */

u64 rust_fuse_totalram_bytes(void)
{
	return (u64)totalram_pages() << PAGE_SHIFT;
}

void rust_fuse_d_dont_cache(struct dentry *dentry)
{
	spin_lock(&dentry->d_lock);
	dentry->d_flags |= DCACHE_DONTCACHE;
	spin_unlock(&dentry->d_lock);
}

/* Pipes. */

const unsigned int RUST_FUSE_CONST_PIPE_BUF_FLAG_GIFT = PIPE_BUF_FLAG_GIFT;
const unsigned int RUST_FUSE_CONST_PIPE_BUF_FLAG_LRU = PIPE_BUF_FLAG_LRU;
const unsigned int RUST_FUSE_CONST_SPLICE_F_MOVE = SPLICE_F_MOVE;

unsigned int rust_fuse_pipe_max_usage(const struct pipe_inode_info *pipe)
{
	return pipe->max_usage;
}

unsigned int rust_fuse_pipe_readers(const struct pipe_inode_info *pipe)
{
	return pipe->readers;
}

unsigned int rust_fuse_pipe_buf_usage(const struct pipe_inode_info *pipe)
{
	return pipe_buf_usage(pipe);
}

unsigned int rust_fuse_pipe_tail(const struct pipe_inode_info *pipe)
{
	return pipe->tail;
}

void rust_fuse_pipe_set_tail(struct pipe_inode_info *pipe, unsigned int tail)
{
	pipe->tail = tail;
}

struct pipe_buffer *rust_fuse_pipe_buf(const struct pipe_inode_info *pipe, unsigned int slot)
{
	return pipe_buf(pipe, slot);
}

void rust_fuse_pipe_wake_writers(struct pipe_inode_info *pipe)
{
	wake_up_interruptible(&pipe->wr_wait);
}

bool rust_fuse_pipe_buf_get(struct pipe_inode_info *pipe, struct pipe_buffer *buf)
{
	return pipe_buf_get(pipe, buf);
}

void rust_fuse_pipe_buf_release(struct pipe_inode_info *pipe, struct pipe_buffer *buf)
{
	pipe_buf_release(pipe, buf);
}

int rust_fuse_pipe_buf_confirm(struct pipe_inode_info *pipe, struct pipe_buffer *buf)
{
	return pipe_buf_confirm(pipe, buf);
}

bool rust_fuse_pipe_buf_try_steal(struct pipe_inode_info *pipe, struct pipe_buffer *buf)
{
	return pipe_buf_try_steal(pipe, buf);
}

/* Moving pages into the page cache. */

/* Somebody has more to do with a folio of the page cache than to wait for its contents. */
const unsigned long RUST_FUSE_CONST_FOLIO_FLAGS_IN_USE =
	1UL << PG_dirty | 1UL << PG_writeback | 1UL << PG_mlocked | 1UL << PG_private |
	1UL << PG_private_2;

/* A page of a pipe is more than memory with something in it. */
const unsigned long RUST_FUSE_CONST_FOLIO_FLAGS_NOT_FREE =
	PAGEFLAGS_MASK & ~__PG_HWPOISON &
	~(1UL << PG_locked | 1UL << PG_referenced | 1UL << PG_uptodate | 1UL << PG_lru |
	  1UL << PG_active | 1UL << PG_workingset | 1UL << PG_reclaim | 1UL << PG_waiters |
	  1UL << PG_mappedtodisk);

struct folio *rust_fuse_page_folio_of(struct page *page)
{
	return page_folio(page);
}

/* The page of that number, with a reference. */
struct page *rust_fuse_folio_get_page(struct folio *folio, size_t number)
{
	struct page *page = folio_page(folio, number);

	get_page(page);
	return page;
}

void rust_fuse_put_page(struct page *page)
{
	put_page(page);
}

unsigned long rust_fuse_folio_flags_of(const struct folio *folio)
{
	return folio->flags.f;
}

bool rust_fuse_folio_mapped(const struct folio *folio)
{
	return folio_mapped(folio);
}

void rust_fuse_folio_unlock(struct folio *folio)
{
	folio_unlock(folio);
}

void rust_fuse_folio_clear_uptodate(struct folio *folio)
{
	folio_clear_uptodate(folio);
}

void rust_fuse_folio_clear_mappedtodisk(struct folio *folio)
{
	folio_clear_mappedtodisk(folio);
}

/* Locks. */

unsigned int rust_fuse_lock_type(const struct file_lock *lock)
{
	return lock->c.flc_type;
}

unsigned int rust_fuse_lock_flags(const struct file_lock *lock)
{
	return lock->c.flc_flags;
}

fl_owner_t rust_fuse_lock_owner(const struct file_lock *lock)
{
	return lock->c.flc_owner;
}

loff_t rust_fuse_lock_start(const struct file_lock *lock)
{
	return lock->fl_start;
}

loff_t rust_fuse_lock_end(const struct file_lock *lock)
{
	return lock->fl_end;
}

bool rust_fuse_lock_wants_grant(const struct file_lock *lock)
{
	return lock->fl_lmops && lock->fl_lmops->lm_grant;
}

void rust_fuse_lock_set_type(struct file_lock *lock, unsigned int type)
{
	lock->c.flc_type = type;
}

void rust_fuse_lock_set_pid(struct file_lock *lock, pid_t pid)
{
	lock->c.flc_pid = pid;
}

void rust_fuse_lock_set_range(struct file_lock *lock, loff_t start, loff_t end)
{
	lock->fl_start = start;
	lock->fl_end = end;
}

int rust_fuse_locks_lock_file_wait(struct file *file, struct file_lock *lock)
{
	return locks_lock_file_wait(file, lock);
}

/* Polling. */

const __poll_t RUST_FUSE_CONST_EPOLLERR = EPOLLERR;
const __poll_t RUST_FUSE_CONST_DEFAULT_POLLMASK = DEFAULT_POLLMASK;

bool rust_fuse_in_x32_syscall(void)
{
#ifdef CONFIG_X86_X32_ABI
	return in_x32_syscall();
#else
	return false;
#endif
}

__poll_t rust_fuse_poll_requested_events(const poll_table *table)
{
	return poll_requested_events(table);
}

u16 rust_fuse_mangle_poll(__poll_t events)
{
	return mangle_poll(events);
}

__poll_t rust_fuse_demangle_poll(u16 events)
{
	return demangle_poll(events);
}

void rust_fuse_init_waitqueue_head(struct wait_queue_head *queue)
{
	init_waitqueue_head(queue);
}

bool rust_fuse_waitqueue_active(struct wait_queue_head *queue)
{
	return waitqueue_active(queue);
}

/* Kernel threads that get signals, for KUnit tests. */

#if IS_BUILTIN(CONFIG_KUNIT)
const int RUST_FUSE_CONST_SIGKILL = SIGKILL;
const int RUST_FUSE_CONST_SIGUSR1 = SIGUSR1;

void rust_fuse_allow_signal(int signal)
{
	allow_signal(signal);
}

void rust_fuse_disallow_signal(int signal)
{
	disallow_signal(signal);
	flush_signals(current);
}

void rust_fuse_send_signal(int signal, struct task_struct *task)
{
	send_sig(signal, task, 1);
}
#endif
