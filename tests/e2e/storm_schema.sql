-- For storm_test.py, beside the demo's tables.

-- Money moves between these rows in transactions: their sum is the same at every version.
CREATE TABLE accounts (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  balance DECIMAL(12,2) NOT NULL,
  note VARCHAR(60) NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;

-- And between these two tables: their common sum is the same at every version.
CREATE TABLE accounts_a (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  balance DECIMAL(12,2) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE accounts_b LIKE accounts_a;

-- Each commanding worker counts in a row of its own.
CREATE TABLE marks (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  n BIGINT NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
