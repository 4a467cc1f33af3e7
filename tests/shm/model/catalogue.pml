/* The catalogue's file and the log: two halves, filled in turn, and table events that name the generation they need.
 *
 * One name, three incarnations 1, 2, 3 in turn: each is loaded beside the one before and put in its place by an event,
 * then gets a row. Entry n of the log is one published batch:
 *
 *   1 live 1 · 2 load of 2 · 3 live 2 · 4 row of 2 · 5 load of 3 · 6 live 3 · 7 row of 3
 *
 * What the catalogue says is its stage: 1 {1}, 2 {1, 2}, 3 {2}, 4 {2, 3}, 5 {3}. Each word of a half is a step of its own;
 * the text is two words. A reader follows at any distance, and reads the catalogue only when it has to, as
 * replica/table_store.cc does. The writer dies between any two stores, and the next one may publish what it finds again under
 * the next generation.
 *
 * What is asserted: what is read is whole and of the generation that it says; an event is never applied with an older
 * catalogue than it names; an incarnation whose records are passed over has been dropped since; an
 * incarnation that is served has all its rows; the active half is whole whenever a writer has died.
 */
#ifndef READERS
#define READERS 1
#endif
#ifndef KILLS
#define KILLS 1
#endif
#ifndef ENTRIES
#define ENTRIES 7
#endif

#define STAGE(entry) ((entry) < 2 -> 1 : ((entry) < 4 -> 2 : ((entry) == 4 -> 3 : ((entry) < 7 -> 4 : 5))))
#define HAS(stage, table) ((table) == 1 -> (stage) <= 2 : ((table) == 2 -> (stage) >= 2 && (stage) <= 4 : (stage) >= 4))
#define TABLE(entry) ((entry) == 1 -> 1 : ((entry) <= 4 -> 2 : 3))
#define IS_EVENT(entry) ((entry) == 1 || (entry) == 3 || (entry) == 6)
#define DROPPED_AT(table) ((table) == 1 -> 3 : ((table) == 2 -> 6 : 99))

byte active_generation;
byte half_generation[2], text0[2], text1[2], checksum[2];
byte needs[ENTRIES + 1]; /* the generation in an entry's event: in the log */
byte committed;

byte stage_of[12]; /* no part of the ring: what each generation was to say */
bool die;

inline store_half(number)
{
#ifdef BUG_SINGLE_HALF
  h = 0;
#else
  h = (number) % 2;
#endif
#ifdef BUG_ACTIVE_FIRST
  active_generation = number;
#endif
  half_generation[h] = number;
  checksum[h] = stage;
  text0[h] = stage;
  text1[h] = stage;
#ifndef BUG_ACTIVE_FIRST
  active_generation = number;
#endif
}

inline publish_catalogue()
{
  d_step { g = active_generation + 1; stage_of[g] = stage };
  store_half(g);
  g = 0
}

active proctype writer()
{
  byte g, h, stage, again;
  do
  :: {
end_idle:
    do
    :: committed < ENTRIES ->
      stage = STAGE(committed + 1);
#ifdef BUG_EVENT_FIRST
      needs[committed + 1] = active_generation + (stage_of[active_generation] != stage -> 1 : 0);
      committed = committed + 1;
#endif
      if
      :: active_generation == 0 || stage_of[active_generation] != stage -> publish_catalogue()
      :: else
      fi;
#ifndef BUG_EVENT_FIRST
      needs[committed + 1] = active_generation; /* P1, P2 */
      committed = committed + 1; /* P3 */
#endif
      stage = 0
#if KILLS > 0
    :: again > 0 && active_generation > 0 -> again = 0; stage = stage_of[active_generation]; publish_catalogue()
#endif
    od
  } unless {
    die ->
    atomic {
      die = false; g = 0; stage = 0; again = 1;
#ifdef BUG_SINGLE_HALF
      h = 0;
#else
      h = active_generation % 2;
#endif
      /* What the next writer begins with. */
      assert(active_generation == 0 || (half_generation[h] == active_generation && text0[h] == checksum[h] &&
                                        text1[h] == checksum[h] && checksum[h] == stage_of[active_generation]))
    }
  }
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

inline read_catalogue()
{
  do
  ::
#ifndef BUG_POSITION_AFTER
    read_at = committed;
#endif
    g = active_generation;
#ifdef BUG_SINGLE_HALF
    h = 0;
#else
    h = g % 2;
#endif
    found = half_generation[h];
    sum = checksum[h];
    word0 = text0[h];
    word1 = text1[h];
#ifdef BUG_UNCHECKED
    break
#else
    if
    :: found == g && half_generation[h] == g && word0 == sum && word1 == sum -> break
    :: else
    fi
#endif
  od;
  atomic {
    assert(word0 == word1 && word0 == stage_of[g]);
    assert(g >= generation); /* never back */
    generation = g; stage = word0;
    g = 0; h = 0; found = 0; sum = 0; word0 = 0; word1 = 0
  };
#ifdef BUG_POSITION_AFTER
  read_at = committed
#endif
}

proctype reader()
{
  byte generation, stage, read_at, applied, g, h, found, sum, word0, word1;
  byte served;         /* the incarnation that the name leads to; 0: none that is known */
  byte rows[4];        /* of each incarnation */
end_caught_up:
  do
  :: applied < committed ->
    applied++;
    if
    :: IS_EVENT(applied) ->
#ifndef BUG_NOT_READ_AGAIN
      if
      :: needs[applied] > generation -> read_catalogue()
      :: else
      fi;
#endif
      d_step {
        assert(generation >= needs[applied]);
        if
        :: HAS(stage, TABLE(applied)) -> served = TABLE(applied)
        :: else -> served = 0; assert(committed >= DROPPED_AT(TABLE(applied)))
        fi
      }
    :: else ->
      /* A row. An incarnation that is not known: the catalogue is read, unless the last reading was late enough. */
      if
      :: !HAS(stage, TABLE(applied)) && applied > read_at -> read_catalogue()
      :: else
      fi;
      d_step {
        if
        :: stage > 0 && HAS(stage, TABLE(applied)) -> rows[TABLE(applied)]++
        :: else -> assert(committed >= DROPPED_AT(TABLE(applied)))
        fi
      }
    fi;
    /* Rows of what is served: loaded whole before the event, and those after it. */
    d_step {
      assert(served != 2 || rows[2] == (applied >= 4 -> 2 : 1));
      assert(served != 3 || rows[3] == (applied >= 7 -> 2 : 1));
      assert(applied != ENTRIES || served == TABLE(ENTRIES))
    }
  od
}

init
{
  atomic {
    run reader();
#if READERS > 1
    run reader()
#endif
  }
}
