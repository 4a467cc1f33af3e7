/* Sleeping and waking: the handshake of sleep word and committed position, whom publishing looks at, evicting and
 * superseding a sleeper, and a writer that dies between any two of its steps and is followed by another.
 *
 * The numbers (P3, S1, …) are those of docs/ring-format.md. Loads and stores are steps of their own, in one order that
 * all see, as seq_cst promises. What acquire and release alone would allow is a load that overtakes the store before it:
 * BUG_P4_BEFORE_P3 and BUG_S2_BEFORE_S1 are that.
 *
 * What is asserted: when nobody can move any more, no reader sleeps that has something to read, is evicted, or is
 * in an epoch that is superseded.
 *
 * Configuration: READERS, PUBLISHES, EVICTIONS, SUPERSEDES, KILLS; OTHERS: how often a reader wakes for another reason
 * (a request, a timer); LEAVES: how often a reader leaves and joins again; LOOKS: 1 when the writer looks at all readers at
 * some time after each publishing (by the clock), which a single reader must not need.
 */
#ifndef READERS
#define READERS 2
#endif
#ifndef PUBLISHES
#define PUBLISHES 2
#endif
#ifndef EVICTIONS
#define EVICTIONS 1
#endif
#ifndef SUPERSEDES
#define SUPERSEDES 1
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef OTHERS
#define OTHERS 1
#endif
#ifndef LOOKS
#define LOOKS 0
#endif
#ifndef LEAVES
#define LEAVES 0
#endif

byte committed = 1;
byte incarnation[READERS]; /* 0: nobody reads here */
byte evicted[READERS];     /* the incarnation that was */
bool superseded;
byte sleep_word[READERS];
bool bytes[READERS]; /* in the FIFO: one or many is the same */
bool locked[READERS];

/* No part of the ring. */
byte position[READERS];
byte mine[READERS]; /* the incarnation that the reader took */
bool gone[READERS]; /* has seen that it must join again */
bool due;           /* a look at all readers */
bool die;

/* The readers below `watched`, and the one behind them. */
inline wake_sleepers() /* P4 */
{
  do
  :: watched < READERS ->
    if
    :: incarnation[watched] != 0 -> watched++
    :: else -> break
    fi
  :: else -> break
  od;
  r = 0;
  do
  :: r < watched ->
    d_step { seen = sleep_word[r] };
    if
#ifdef BUG_WOKEN_ONCE
    :: seen % 2 == 1 && woken_for[r] == 0 ->
#else
    :: seen % 2 == 1 && seen != woken_for[r] ->
#endif
      if
      :: incarnation[r] != 0 -> d_step { woken_for[r] = seen; bytes[r] = true }
      :: else
      fi
    :: else
    fi;
    d_step { seen = 0; r++ }
  :: else -> r = 0; break
  od
}

/* check_readers(): all of them, in use or not. */
inline look_at_all()
{
  r = 0;
  in_use = 0;
  do
  :: r < READERS ->
    if
#ifdef BUG_LOOK_ENDS_AT_A_FREE_ONE
    :: incarnation[r] != 0 -> in_use = r + 1
    :: else -> break
#else
    :: incarnation[r] != 0 -> in_use = r + 1
    :: else
#endif
    fi;
    r++
  :: else -> break
  od;
  watched = in_use;
  in_use = 0;
  r = 0;
#ifndef BUG_LOOK_WAKES_NOBODY
  wake_sleepers()
#endif
}

inline wake_all()
{
  r = 0;
  do
  :: r < READERS ->
    if
    :: incarnation[r] != 0 ->
      watched = (watched < r + 1 -> r + 1 : watched);
      woken_for[r] = sleep_word[r];
      bytes[r] = true
    :: else
    fi;
    r++
  :: else -> r = 0; break
  od
}

active proctype writer()
{
  byte woken_for[READERS], seen, r, watched, in_use, evictions;
  do
  :: {
#ifdef BUG_RESTART_DOES_NOT_WAKE
    r = 0;
#else
    wake_all();
#endif
end_idle:
    do
    :: committed <= PUBLISHES ->
#ifdef BUG_P4_BEFORE_P3
      wake_sleepers();
      committed = committed + 1
#else
      committed = committed + 1; /* P3 */
#if LOOKS > 0
      due = true;
#endif
      wake_sleepers()
#endif
#if LOOKS > 0
    :: due ->
      due = false;
      look_at_all()
#endif
    :: evictions < EVICTIONS ->
      if
      :: r = 0
#if READERS > 1
      :: r = 1
#endif
      fi;
      seen = incarnation[r];
      if
      :: seen != 0 ->
        evictions++;
#ifdef BUG_E2_BEFORE_E1
        bytes[r] = true;
        evicted[r] = seen
#else
        evicted[r] = seen; /* E1 */
#ifndef BUG_NO_E2
        bytes[r] = true /* E2 */
#else
        skip
#endif
#endif
      :: else
      fi;
      seen = 0;
      r = 0
#if SUPERSEDES > 0
    :: !superseded ->
      superseded = true; /* N5 */
      wake_all()
#endif
    :: !due -> /* does no more */
end_resting:
      false
    od
  } unless {
    die -> /* its private memory goes with it */
    atomic {
      die = false; seen = 0; r = 0; watched = 0; in_use = 0; woken_for[0] = 0;
#if READERS > 1
      woken_for[1] = 0
#endif
    }
  }
  od
}

active proctype killer()
{
  byte kills;
  do
  :: kills < KILLS -> !die; kills++; die = true
  :: break
  od
}

/* Reader 1 takes the second slot: the first must be locked, by whoever it is. */
active [READERS] proctype reader()
{
  byte me = _pid - 2, limit, others, leaves;
join:
  atomic { (me == 0 || locked[0]) -> locked[me] = true }; /* J1 */
#ifdef BUG_SLEEP_WORD_STARTS_AGAIN
  sleep_word[me] = 0;
#else
  sleep_word[me] = (sleep_word[me] + 1) / 2 * 2;
#endif
  d_step { mine[me]++; incarnation[me] = mine[me] }; /* J2 */
  position[me] = committed; /* J3 */
  do
  :: position[me] != committed -> position[me] = committed
  :: else ->
    if
    :: evicted[me] == mine[me] || superseded -> gone[me] = true; break
    :: else
    fi;
#if LEAVES > 0
    if
    :: leaves < LEAVES ->
      leaves++;
      incarnation[me] = 0;
      locked[me] = false;
      goto join
    :: true
    fi;
#endif
#ifdef BUG_S2_BEFORE_S1
    limit = committed;
    sleep_word[me] = sleep_word[me] + 1;
#else
    sleep_word[me] = sleep_word[me] + 1; /* S1 */
    limit = committed; /* S2 */
#endif
    if
    :: limit != position[me] -> skip /* S3 */
    :: limit == position[me] ->
      if
      :: superseded -> skip
      :: else ->
        if
        :: evicted[me] == mine[me] -> skip
        :: else ->
#ifdef BUG_EMPTIED_LATE
          bytes[me] = false;
#endif
end_asleep:
          if /* S4 */
          :: bytes[me] -> bytes[me] = false
          :: others < OTHERS -> others++
          fi
        fi
      fi
    fi;
    limit = 0;
    sleep_word[me] = sleep_word[me] + 1 /* even */
  od
}

#define IS_RIGHT(r) (gone[r] || (position[r] == committed && evicted[r] != mine[r] && !superseded))

/* Runs when nobody else can. */
active proctype monitor()
{
  timeout ->
  assert(IS_RIGHT(0));
#if READERS > 1
  assert(IS_RIGHT(1))
#endif
}
