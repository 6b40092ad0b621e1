/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The module's tracepoints.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM rust_fuse

#if !defined(_RUST_FUSE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _RUST_FUSE_TRACE_H

#include <linux/tracepoint.h>

/* `Place` in rust/queue/place.rs, by number. */
#define rust_fuse_place(place)			\
	__print_symbolic(place,			\
			 { 0, "none" },		\
			 { 1, "gate" },		\
			 { 2, "background" },	\
			 { 3, "pending" },	\
			 { 4, "handed" },	\
			 { 5, "reading" },	\
			 { 6, "processing" },	\
			 { 7, "writing" },	\
			 { 8, "aborting" },	\
			 { 9, "ended" })

/* `InterruptStep` in rust/queue/mod.rs, by number. */
#define rust_fuse_step(step)			\
	__print_symbolic(step,			\
			 { 0, "queued" },	\
			 { 1, "read" },		\
			 { 2, "dropped" })

/*
 * A request of `len` bytes has moved to a queue, which holds `depth` of them
 * now; to its end, with `error`.
 */
TRACE_EVENT(rust_fuse_request,
	TP_PROTO(u32 connection, u64 unique, u32 opcode, u64 nodeid, u32 pid,
		 u8 from, u8 to, u64 depth, u32 len, int error),
	TP_ARGS(connection, unique, opcode, nodeid, pid, from, to, depth, len,
		error),
	TP_STRUCT__entry(
		__field(u64, unique)
		__field(u64, nodeid)
		__field(u64, depth)
		__field(u32, connection)
		__field(u32, opcode)
		__field(u32, pid)
		__field(u32, len)
		__field(int, error)
		__field(u8, from)
		__field(u8, to)
	),
	TP_fast_assign(
		__entry->unique = unique;
		__entry->nodeid = nodeid;
		__entry->depth = depth;
		__entry->connection = connection;
		__entry->opcode = opcode;
		__entry->pid = pid;
		__entry->len = len;
		__entry->error = error;
		__entry->from = from;
		__entry->to = to;
	),
	TP_printk("connection=%u unique=%llu opcode=%u nodeid=%llu pid=%u from=%s to=%s depth=%llu len=%u error=%d",
		  __entry->connection, __entry->unique, __entry->opcode,
		  __entry->nodeid, __entry->pid, rust_fuse_place(__entry->from),
		  rust_fuse_place(__entry->to), __entry->depth, __entry->len,
		  __entry->error)
);

/*
 * Something has happened to the interrupt of a request; `depth` of them wait
 * now.
 */
TRACE_EVENT(rust_fuse_interrupt,
	TP_PROTO(u32 connection, u64 unique, u32 opcode, u64 nodeid, u32 pid,
		 u8 step, u64 depth),
	TP_ARGS(connection, unique, opcode, nodeid, pid, step, depth),
	TP_STRUCT__entry(
		__field(u64, unique)
		__field(u64, nodeid)
		__field(u64, depth)
		__field(u32, connection)
		__field(u32, opcode)
		__field(u32, pid)
		__field(u8, step)
	),
	TP_fast_assign(
		__entry->unique = unique;
		__entry->nodeid = nodeid;
		__entry->depth = depth;
		__entry->connection = connection;
		__entry->opcode = opcode;
		__entry->pid = pid;
		__entry->step = step;
	),
	TP_printk("connection=%u unique=%llu opcode=%u nodeid=%llu pid=%u step=%s depth=%llu",
		  __entry->connection, __entry->unique, __entry->opcode,
		  __entry->nodeid, __entry->pid, rust_fuse_step(__entry->step),
		  __entry->depth)
);

/* A daemon has read `count` forgets at once, in a message of `len` bytes. */
TRACE_EVENT(rust_fuse_forgets,
	TP_PROTO(u32 connection, u64 unique, u64 count, u32 len),
	TP_ARGS(connection, unique, count, len),
	TP_STRUCT__entry(
		__field(u64, unique)
		__field(u64, count)
		__field(u32, connection)
		__field(u32, len)
	),
	TP_fast_assign(
		__entry->unique = unique;
		__entry->count = count;
		__entry->connection = connection;
		__entry->len = len;
	),
	TP_printk("connection=%u unique=%llu count=%llu len=%u",
		  __entry->connection, __entry->unique, __entry->count,
		  __entry->len)
);

#endif /* _RUST_FUSE_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
