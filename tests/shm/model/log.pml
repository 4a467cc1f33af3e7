/* The ring's log: publishing, reading, joining, evicting, compacting, reclaiming, and the writer's death.
 *
 * The numbers (P1, J3, F0, …) are those of docs/ring-format.md. Every load and every store of a shared word is a step
 * of its own; what a process does with its own variables is free. Memory is sequentially consistent here: that the orders
 * of the code suffice for it is another test's matter.
 *
 * The log is small: SLOTS slots, each of ROOM records and a segment end; two keys, 0 and 1; a fixed sequence of
 * transactions (TRUTH says what each version holds). All the rest is free: when the writer compacts, which segment, how
 * far at a time, when it frees, evicts, gives memory back, when it dies and how far readers have got.
 *
 * What is asserted:
 *   - an answer is exactly the state of one version: nothing missing, doubled, resurrected, half, or from later;
 *   - contents are those that the address was known for whenever R2 says so;
 *   - only an evicted reader ever finds a slot reused (it may read slots that it knows, compare keys in them, and follow
 *     segment ends);
 *   - a joiner misses nothing that was published before J3; a new writer knows all that was published and nothing else.
 *
 * What is left out: the words of a record (it is one word, with its position as its checksum), checkpoints, table
 * events, jumbo segments, chunks. A slot's start, run and check are one word. Of the two last commit records that are never
 * compacted only one is kept: the other one serves the comparison with the source.
 *
 * Configuration: READERS, TRANSACTIONS, VICTIMS (segments compacted at most), EVICTIONS, KILLS, PUNCHES; SLOTS.
 * BUG_…: the same with one step missing or misplaced. spin has to find each.
 */
#ifndef READERS
#define READERS 1
#endif
#ifndef SLOTS
#define SLOTS 4
#endif
#ifndef TRANSACTIONS
#define TRANSACTIONS 4
#endif
#ifndef VICTIMS
#define VICTIMS 2
#endif
#ifndef EVICTIONS
#define EVICTIONS 0
#endif
#ifndef KILLS
#define KILLS 0
#endif
#ifndef PUNCHES
#define PUNCHES 0
#endif

#define ROOM 3
#define CELLS 4 /* with the segment end */
#define NONE 255

/* A record is position, type, key and version; a segment end has the next slot and its generation in their place. */
#define RECORD(position, type, key, version) ((position) << 9 | (type) << 6 | (key) << 4 | (version))
#define POSITION(record) ((record) >> 9)
#define TYPE(record) ((record) >> 6 & 7)
#define KEY(record) ((record) >> 4 & 3)
#define VERSION(record) ((record) & 15)
#define kRow 1
#define kTombstone 2
#define kRelocation 3
#define kCommit 4
#define kBatch 5 /* a commit record without a version */
#define kEnd 6

/* The transactions: 1 inserts both keys, 2 deletes key 0, 3 updates key 1, 4 inserts key 0 and updates key 1, 5 deletes key 0. */
#define OPERATIONS(v) ((v) == 1 || (v) == 4 -> 2 : 1)
#define OPERATION_KEY(v, i) ((v) == 3 -> 1 : (i))
#define OPERATION_TYPE(v) ((v) == 2 || (v) == 5 -> kTombstone : kRow)
#define TRUTH_0(v) ((v) == 1 || (v) == 4 -> (v) : 0)
#define TRUTH_1(v) ((v) < 3 -> 1 : ((v) == 3 -> 3 : 4))

/* Shared memory: written by the writer only … */
byte committed;
byte generation[SLOTS];
byte start[SLOTS]; /* number of the segment; its position is that times CELLS */
short log[SLOTS * CELLS];
byte evicted[READERS];
/* … and by each reader only. */
byte incarnation[READERS];
byte reclaim[READERS];

/* No part of the ring: what has been published, and who is to die. */
byte published;
bool die;

/* ------------------------------------------------------------------------------------------------ writer */

#define sFree 0
#define sUsed 1
#define sVictim 2 /* being processed, or in the FIFO */
#define sAwait 3  /* F1 done, not yet F2 */

/* Lowest free slot. */
inline find_free()
{
  next = 0;
  do
  :: next < SLOTS && state[next] != sFree -> next++
  :: else -> break
  od;
  assert(next < SLOTS)
}

/* The tail is full: its end record, then the next slot. */
inline open_segment()
{
  log[tail * CELLS + ROOM] = RECORD(number * CELLS + ROOM, kEnd, next, generation[next] + 1);
  start[next] = number + 1; /* and run, chunk, check */
  d_step {
#ifdef BUG_GENERATION_LATE
    late = next;
#else
    generation[next] = generation[next] + 1;
#endif
    tail = next; number = number + 1; offset = 0; state[next] = sUsed; next = NONE
  }
}

inline append(the_type, the_key, the_version) /* P1, P2 */
{
  if
  :: d_step { offset == ROOM -> find_free() };
    open_segment();
    store_record(the_type, the_key, the_version)
  :: d_step { offset < ROOM -> put(the_type, the_key, the_version) }
  fi;
#ifdef BUG_GENERATION_LATE
  if
  :: late != NONE -> generation[late] = generation[late] + 1; late = NONE
  :: else
  fi
#endif
}
inline put(the_type, the_key, the_version)
{
  log[tail * CELLS + offset] = RECORD(number * CELLS + offset, the_type, the_key, the_version);
  address = tail * CELLS + offset;
  offset++
}
inline store_record(the_type, the_key, the_version)
{
  d_step { put(the_type, the_key, the_version) }
}

/* The commit record is written at P2, then P3; the caller has set what: kCommit or kBatch. */
inline publish(the_type, the_version)
{
#ifdef BUG_P3_BEFORE_P2
  if
  :: offset < ROOM ->
    d_step { committed = number * CELLS + offset + 1; published = the_version };
    append(the_type, 0, the_version)
  :: else ->
    append(the_type, 0, the_version);
    d_step { committed = number * CELLS + offset; published = the_version }
  fi;
#else
  append(the_type, 0, the_version); /* P2 */
  d_step { committed = number * CELLS + offset; published = the_version }; /* P3 */
#endif
}

/* The index after a record at address: dead copies are counted, a tombstone's entry stays while there are any. */
inline index_row(the_key, at)
{
  if
  :: entry[the_key] != NONE && !is_tombstone[the_key] -> dead[the_key]++
  :: else
  fi;
  entry[the_key] = at;
  is_tombstone[the_key] = false;
}
inline index_tombstone(the_key, at)
{
  if
  :: entry[the_key] != NONE && !is_tombstone[the_key] -> dead[the_key]++
  :: else
  fi;
  if
  :: dead[the_key] > 0 -> entry[the_key] = at; is_tombstone[the_key] = true
  :: else -> entry[the_key] = NONE; is_tombstone[the_key] = false
  fi;
}

/* Reads what F0 and F2 read: blocked becomes true when a live reader's reclaim position is below the limit. */
inline look_at_readers(limit)
{
#ifdef BUG_ONE_READER_SEEN
  r = READERS - 1;
#endif
  do
  :: d_step { r < READERS && !blocked && (incarnation[r] == 0 || incarnation[r] == evicted[r]) -> r++ }
  :: r < READERS && !blocked && incarnation[r] != 0 && incarnation[r] != evicted[r] ->
    d_step { blocked = reclaim[r] < limit; r++ }
  :: atomic { r == READERS || blocked -> r = 0; break }
  od
}

inline shift_fifo()
{
  fifo[0] = fifo[1]; fifo[1] = fifo[2]; fifo[2] = NONE;
  waiting--
}

/* The first in the FIFO gets free. */
inline free_first()
{
  d_step {
    generation[fifo[0]] = generation[fifo[0]] + 1; /* F1 */
    state[fifo[0]] = sAwait;
    shift_fifo()
  }
}

/* A new writer: knows nothing but what is in shared memory. */
inline recover()
{
  atomic {
    i = 0;
    do
    :: i < SLOTS -> state[i] = sFree; free_position[i] = 0; fifo[i] = NONE; i++
    :: else -> break
    od;
    waiting = 0; victim = NONE; cell = 0; operation = 0; address = 0; seen = 0; blocked = false; next = NONE;
    entry[0] = NONE; entry[1] = NONE; is_tombstone[0] = false; is_tombstone[1] = false; dead[0] = 0; dead[1] = 0;
    version = 0; last_commit = NONE; tail = NONE; number = 0; offset = 0; began = 0; r = 0;
#ifdef BUG_GENERATION_LATE
    late = NONE;
#endif
    i = 0;
  };
  /* Slots taken by a transaction that was never published. */
#ifndef BUG_RESTART_KEEPS_TAKEN
  do
  :: i < SLOTS ->
    if
    :: generation[i] % 2 == 1 && start[i] * CELLS >= committed -> generation[i] = generation[i] + 1
    :: else
    fi;
    i++
  :: else -> break
  od;
#endif
  i = 0;
  d_step {
    do
    :: i < SLOTS ->
      if
      :: generation[i] % 2 == 1 -> state[i] = sUsed
      :: generation[i] == 0 -> state[i] = sFree
      :: else ->
        /* Freed by the writer before, which may not have come to F2: a joiner may be reading it. */
#ifdef BUG_RESTART_REUSES
        state[i] = sFree
#else
        state[i] = sAwait; free_position[i] = committed
#endif
      fi;
      i++
    :: else -> break
    od;
    /* The walk, in the order of positions; began counts segments, seen is the slot, cell the record. */
    began = 1;
    do
    :: began * CELLS < committed ->
      seen = 0;
      do
      :: seen < SLOTS && !(generation[seen] % 2 == 1 && start[seen] == began) -> seen++
      :: else -> break
      od;
      if
      :: seen < SLOTS ->
        tail = seen; number = began; cell = 0;
        do
        :: cell < ROOM && began * CELLS + cell < committed ->
          address = seen * CELLS + cell;
          assert(POSITION(log[address]) == began * CELLS + cell);
          if
          :: TYPE(log[address]) == kRow || TYPE(log[address]) == kRelocation -> index_row(KEY(log[address]), address)
          :: TYPE(log[address]) == kTombstone -> index_tombstone(KEY(log[address]), address)
          :: TYPE(log[address]) == kCommit -> version = VERSION(log[address]); last_commit = seen
          :: else
          fi;
          cell++;
        :: else -> break
        od;
        offset = cell
      :: else
      fi;
      began++
    :: else -> break
    od;
    began = 0; seen = 0; cell = 0; address = 0; i = 0;
    /* Nothing that was published is lost, nothing else is there. */
    assert(version == published);
    assert((entry[0] == NONE || is_tombstone[0] -> 0 : VERSION(log[entry[0]])) == TRUTH_0(version));
    assert((entry[1] == NONE || is_tombstone[1] -> 0 : VERSION(log[entry[1]])) == TRUTH_1(version));
    assert(number * CELLS + offset == committed);
  }
}

inline transact()
{
  do
  :: operation < OPERATIONS(version + 1) ->
    append(OPERATION_TYPE(version + 1), OPERATION_KEY(version + 1, operation), version + 1);
    d_step {
      if
      :: OPERATION_TYPE(version + 1) == kRow -> index_row(OPERATION_KEY(version + 1, operation), address)
      :: else -> index_tombstone(OPERATION_KEY(version + 1, operation), address)
      fi;
      address = 0;
      operation++
    }
  :: else -> break
  od;
  publish(kCommit, version + 1);
  d_step { version++; last_commit = tail; operation = 0; address = 0 }
}

#define VICTIMS_RECORD log[victim * CELLS + cell]
#define IS_ROW (TYPE(VICTIMS_RECORD) == kRow || TYPE(VICTIMS_RECORD) == kRelocation)
#define IS_CURRENT (entry[KEY(VICTIMS_RECORD)] == victim * CELLS + cell)
#ifdef BUG_TOMBSTONE_DROPPED
#define IS_CARRIED (IS_ROW && IS_CURRENT)
#else
#define IS_CARRIED ((IS_ROW || TYPE(VICTIMS_RECORD) == kTombstone) && IS_CURRENT)
#endif

/* One record of the victim, when the last one's batch is published. */
inline compact_step()
{
  if
  :: IS_CARRIED ->
    append((IS_ROW -> kRelocation : kTombstone), KEY(VICTIMS_RECORD), VERSION(VICTIMS_RECORD));
    entry[KEY(VICTIMS_RECORD)] = address;
    publish(kBatch, published);
    d_step { cell++; address = 0 }
  :: d_step {
    !IS_CARRIED ->
    if
    :: IS_ROW && !IS_CURRENT ->
      dead[KEY(VICTIMS_RECORD)]--;
      if
      :: dead[KEY(VICTIMS_RECORD)] == 0 && is_tombstone[KEY(VICTIMS_RECORD)] ->
        entry[KEY(VICTIMS_RECORD)] = NONE; is_tombstone[KEY(VICTIMS_RECORD)] = false
      :: else
      fi
    :: else
    fi;
    cell++
  }
  fi
}

#define HAS_FREE (state[0] == sFree || state[1] == sFree || state[2] == sFree || (SLOTS > 3 && state[SLOTS - 1] == sFree))
#ifdef BUG_LAST_COMMIT_COMPACTED
#define IS_KEPT(s) ((s) == tail)
#else
#define IS_KEPT(s) ((s) == tail || (s) == last_commit)
#endif

active proctype writer()
{
  /* All of it private. */
  byte state[SLOTS], free_position[SLOTS], fifo[SLOTS], waiting, victim, cell, operation, address, seen, i, r, next;
  byte entry[2], dead[2], version, last_commit, tail, number, offset, began;
  bool is_tombstone[2], blocked;
  byte victims, evictions, punches; /* how often so far: limits of the model, they outlive a writer */
#ifdef BUG_GENERATION_LATE
  byte late;
#endif

  /* Transaction 1 has been published. */
  d_step {
    log[0] = RECORD(CELLS, kRow, 0, 1);
    log[1] = RECORD(CELLS + 1, kRow, 1, 1);
    log[2] = RECORD(CELLS + 2, kCommit, 0, 1);
    generation[0] = 1; start[0] = 1; committed = CELLS + 3; published = 1;
  };
  do
  :: {
    recover();
    do
    :: version < TRANSACTIONS && HAS_FREE -> transact()
    :: victim == NONE && victims < VICTIMS ->
      atomic {
        if
        :: state[0] == sUsed && !IS_KEPT(0) -> victim = 0
        :: state[1] == sUsed && !IS_KEPT(1) -> victim = 1
        :: state[2] == sUsed && !IS_KEPT(2) -> victim = 2
#if SLOTS > 3
        :: state[3] == sUsed && !IS_KEPT(3) -> victim = 3
#endif
        fi;
        state[victim] = sVictim; cell = 0; victims++; began = committed
      }
    :: victim != NONE && cell < ROOM && (HAS_FREE || !IS_CARRIED) -> compact_step()
    :: victim != NONE && cell == ROOM ->
      d_step {
        fifo[waiting] = victim; waiting++;
#ifdef BUG_FREE_POSITION
        free_position[victim] = began;
#else
        free_position[victim] = committed;
#endif
        victim = NONE; cell = 0; began = 0
      }
#ifdef BUG_VICTIM_ABANDONED
    :: victim != NONE && cell > 0 && cell < ROOM -> d_step { state[victim] = sUsed; victim = NONE; cell = 0; began = 0 }
#endif
    :: waiting > 0 ->
#ifdef BUG_NOT_FIFO
      if
      :: d_step { waiting > 1 -> i = fifo[0]; fifo[0] = fifo[1]; fifo[1] = i; i = 0 }
      :: true
      fi;
#endif
#ifndef BUG_NO_F0
      look_at_readers(free_position[fifo[0]]); /* F0 */
#endif
      if
      :: !blocked ->
        free_first();
#ifdef BUG_F0_ONCE
        if
        :: waiting > 0 -> free_first()
        :: else
        fi
#endif
      :: else -> blocked = false
      fi
    :: atomic {
        if
        :: state[0] == sAwait -> i = 0
        :: state[1] == sAwait -> i = 1
        :: state[2] == sAwait -> i = 2
#if SLOTS > 3
        :: state[3] == sAwait -> i = 3
#endif
        fi
      };
#ifndef BUG_NO_F2
      look_at_readers(free_position[i]); /* F2 */
#endif
      atomic {
        if
        :: !blocked -> state[i] = sFree; free_position[i] = 0 /* F3 */
        :: else -> blocked = false
        fi;
        i = 0
      }
#if PUNCHES > 0
    :: punches < PUNCHES ->
      atomic {
        if
        :: state[0] == sFree && generation[0] > 0 -> i = 0
        :: state[1] == sFree && generation[1] > 0 -> i = 1
        fi;
        punches++
      };
#ifndef BUG_PUNCH_UNSEEN
      generation[i] = generation[i] + 2; /* F4: no known generation fits what is left */
#endif
      log[i * CELLS] = 0; log[i * CELLS + 1] = 0; log[i * CELLS + 2] = 0; log[i * CELLS + 3] = 0;
      i = 0
#endif
#if EVICTIONS > 0
    :: evictions < EVICTIONS ->
      atomic {
        if
        :: incarnation[0] != 0 && incarnation[0] != evicted[0] -> r = 0
#if READERS > 1
        :: incarnation[1] != 0 && incarnation[1] != evicted[1] -> r = 1
#endif
        fi;
        evictions++
      };
#ifdef BUG_E1_LATE
      /* Forgets the reader, and marks it when it has reused what it held. */
      if
      :: waiting > 0 && HAS_FREE && victim == NONE && version < TRANSACTIONS && offset == ROOM ->
        next = fifo[0];
        free_first();
        open_segment();
        transact()
      :: else
      fi;
#endif
      evicted[r] = incarnation[r]; /* E1 */
      r = 0
#endif
    od
  } unless { die -> die = false }
  od
}

#if KILLS > 0
active proctype killer()
{
  byte kills;
  do
  :: kills < KILLS -> !die; kills++; die = true
  :: break
  od
}
#endif

/* ------------------------------------------------------------------------------------------------ readers */

/* A slot that was freed keeps its bytes until it is reused: the next generation is as good. */
#define IS_UNCHANGED(slot) (generation[slot] - known[slot] <= 1)
#define IS_EVICTED (evicted[me] == incarnation[me])

/* Of the segments found at J3 and not walked yet: the oldest becomes slot. NONE: there is none. */
inline oldest_pending()
{
  i = 0; slot = NONE;
  do
  :: i < SLOTS ->
    if
    :: pending[i] && (slot == NONE || segment[i] < segment[slot]) -> slot = i
    :: else
    fi;
    i++
  :: else -> break
  od;
  i = 0;
  if
  :: slot != NONE -> pending[slot] = false
  :: else
  fi
}

/* The row or tombstone in word, which stands at position. */
inline index()
{
  if
  :: stands_at[KEY(word)] <= visible -> before[KEY(word)] = entry[KEY(word)]
  :: else
  fi;
  entry[KEY(word)] = slot * CELLS + position % CELLS;
  stands_at[KEY(word)] = VERSION(word);
  is_removal[KEY(word)] = TYPE(word) == kTombstone;
  position++; word = 0
}

inline forget_all()
{
  atomic {
    i = 0;
    do
    :: i < SLOTS -> pending[i] = false; known[i] = 0; segment[i] = 0; i++
    :: else -> break
    od;
    entry[0] = NONE; entry[1] = NONE; stands_at[0] = 0; stands_at[1] = 0; before[0] = NONE; before[1] = NONE;
    is_removal[0] = false; is_removal[1] = false;
    visible = 0; position = 0; limit = 0; word = 0; is_serving = false; slot = NONE; i = 0; where = 0; floor = 0;
  }
}

/* Behind a commit: previous versions are not asked for any more, and entries of tombstones go. */
inline remove()
{
  before[0] = NONE; before[1] = NONE;
  if
  :: is_removal[0] -> entry[0] = NONE; is_removal[0] = false; stands_at[0] = 0
  :: else
  fi;
  if
  :: is_removal[1] -> entry[1] = NONE; is_removal[1] = false; stands_at[1] = 0
  :: else
  fi
}

/* A row's answer: the version found, 0 for no such row. The index compares keys where it looks, without R2. */
inline answer(the_key, result)
{
  atomic {
    where = (stands_at[the_key] > visible -> before[the_key] : entry[the_key]);
    if
    :: where != NONE ->
#ifdef BUG_R2_FIRST
      early = generation[where / CELLS]
    :: else
    fi
  };
  atomic {
    if
    :: where != NONE ->
#endif
      word = log[where]; /* R1 */
      if
      :: TYPE(word) >= kCommit || TYPE(word) == 0 || KEY(word) != the_key -> where = NONE
      :: else
      fi
    :: else
    fi
  };
  if
  :: atomic { where == NONE -> result = 0; word = 0; where = 0 }
#if defined BUG_NO_R2
  :: atomic { where != NONE ->
#elif defined BUG_R2_FIRST
  :: atomic { where != NONE && early - known[where / CELLS] <= 1 ->
      early = 0;
#else
  :: atomic { where != NONE && IS_UNCHANGED(where / CELLS) -> /* R2 */
#endif
      assert(POSITION(word) == segment[where / CELLS] * CELLS + where % CELLS);
      result = (TYPE(word) == kTombstone -> 0 : VERSION(word));
      word = 0; where = 0
    }
#if defined BUG_R2_FIRST
  :: where != NONE && early - known[where / CELLS] > 1 -> goto lost
#elif !defined BUG_NO_R2
  :: where != NONE && !IS_UNCHANGED(where / CELLS) -> goto lost
#endif
  fi
}

proctype reader(byte me)
{
  byte known[SLOTS], segment[SLOTS], slot, position, limit, visible, floor, i, where, found0, found1;
  byte entry[2], stands_at[2], before[2]; /* the index; the version of each entry; where the version before it is */
  bool pending[SLOTS], is_removal[2], is_serving;
  short word;
#ifdef BUG_R2_FIRST
  byte early;
#endif

join:
  forget_all();
#ifndef BUG_J3_BEFORE_J2
  reclaim[me] = 0; /* J2 */
  incarnation[me] = incarnation[me] + 1;
#endif
  d_step { limit = committed; floor = published }; /* J3 */
  do
  :: d_step { i < SLOTS && generation[i] % 2 == 0 -> i++ }
  :: d_step { i < SLOTS && generation[i] % 2 == 1 -> known[i] = generation[i] };
    segment[i] = start[i];
    d_step {
      if
#ifdef BUG_J4_UNCOMMITTED
      :: generation[i] == known[i] -> pending[i] = true
#else
      :: generation[i] == known[i] && segment[i] * CELLS < limit -> pending[i] = true /* J4 */
#endif
      :: else -> known[i] = 0; segment[i] = 0
      fi;
      i++
    }
  :: d_step { i == SLOTS -> oldest_pending() };
    break
  od;
#ifdef BUG_J3_BEFORE_J2
  reclaim[me] = 0;
  incarnation[me] = incarnation[me] + 1;
#endif
  if
  :: slot == NONE -> goto lost
  :: else -> position = segment[slot] * CELLS
  fi;

  do
  :: IS_EVICTED -> goto join
  :: d_step { position < limit && position % CELLS == ROOM -> word = log[slot * CELLS + ROOM] }; /* a segment end */
    if
    :: !IS_UNCHANGED(slot) -> goto lost
    :: d_step { IS_UNCHANGED(slot) ->
        assert(POSITION(word) == position && TYPE(word) == kEnd);
        oldest_pending();
        if
        :: slot != NONE ->
          assert(segment[slot] * CELLS > position || IS_EVICTED);
          position = segment[slot] * CELLS; word = 0
        :: else -> slot = KEY(word)
        fi
      }
    fi;
    if
    :: word == 0
    :: word != 0 && generation[slot] != VERSION(word) -> goto lost
    :: word != 0 && generation[slot] == VERSION(word) ->
      if
      :: start[slot] != position / CELLS + 1 -> goto lost
      :: d_step { start[slot] == position / CELLS + 1 ->
          known[slot] = VERSION(word); segment[slot] = position / CELLS + 1; position = segment[slot] * CELLS; word = 0
        }
      fi
    fi
  :: d_step { position < limit && position % CELLS != ROOM -> word = log[slot * CELLS + position % CELLS] };
    if
    :: !IS_UNCHANGED(slot) -> goto lost
    :: d_step { IS_UNCHANGED(slot) ->
        assert(POSITION(word) == position);
        if
        :: TYPE(word) <= kRelocation && entry[KEY(word)] == NONE -> index()
        :: TYPE(word) >= kCommit ->
          if
          :: TYPE(word) == kCommit -> visible = VERSION(word); assert(visible <= published)
          :: else
          fi;
          remove();
          position++;
          word = (is_serving -> word : 0)
        :: else
        fi
      }
    fi;
    if
    :: word == 0
    :: d_step { TYPE(word) >= kCommit -> reclaim[me] = position; word = 0 }
    :: TYPE(word) > 0 && TYPE(word) <= kRelocation && /* the index compares the key where its entry points to */
      POSITION(log[entry[KEY(word)]]) != segment[entry[KEY(word)] / CELLS] * CELLS + entry[KEY(word)] % CELLS -> goto lost
    :: d_step { TYPE(word) > 0 && TYPE(word) <= kRelocation &&
        POSITION(log[entry[KEY(word)]]) == segment[entry[KEY(word)] / CELLS] * CELLS + entry[KEY(word)] % CELLS -> index() }
    fi
  :: d_step { position == limit && !is_serving -> /* J5 */
      assert(IS_EVICTED || visible >= floor);
      is_serving = true; floor = 0;
      reclaim[me] = position
    }
  :: d_step { position == limit && is_serving && committed != limit -> limit = committed };
#ifdef BUG_RECLAIM_EARLY
    reclaim[me] = limit
#endif
  :: is_serving ->
    answer(0, found0);
    answer(1, found1);
#ifndef BUG_NO_R4
    if
    :: IS_EVICTED -> goto lost /* R4 */
    :: d_step { !IS_EVICTED ->
#else
    if
    :: d_step {
#endif
        assert(found0 == TRUTH_0(visible));
        assert(found1 == TRUTH_1(visible));
        found0 = 0; found1 = 0
      }
    fi
  od;

lost:
  /* Only an evicted reader may get here. */
  atomic { assert(IS_EVICTED); found0 = 0; found1 = 0; where = 0; word = 0 };
  goto join
}

init
{
  atomic {
    committed > 0;
    run reader(0);
#if READERS > 1
    run reader(1);
#endif
  }
}
