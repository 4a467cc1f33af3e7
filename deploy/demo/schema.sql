-- The demo's shop: Debian's package index as a catalogue. Columns that the index does not have are derived from
-- name and size by the fixed rules of catalogue.py, and their comments say so.
--
-- Every foreign key restricts (no CASCADE, no SET NULL): MariaDB leaves what a foreign key does to the child out of
-- its binlog, so Ringside refuses such a child table rather than serve it wrong.

CREATE TABLE categories (
  id SMALLINT UNSIGNED NOT NULL PRIMARY KEY,
  slug VARCHAR(40) COLLATE utf8mb4_bin NOT NULL COMMENT 'the index''s Section',
  title VARCHAR(80) NOT NULL,
  is_library TINYINT(1) NOT NULL DEFAULT 0,
  UNIQUE KEY slug (slug)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE maintainers (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(200) NOT NULL,
  email VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  is_team TINYINT(1) NOT NULL DEFAULT 0 COMMENT 'derived: the name or address is a list''s or a team''s',
  UNIQUE KEY email_name (email, name)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

CREATE TABLE products (
  id INT UNSIGNED NOT NULL PRIMARY KEY,
  name VARCHAR(150) COLLATE utf8mb4_bin NOT NULL,
  version VARCHAR(120) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  summary VARCHAR(300) NOT NULL,
  category_id SMALLINT UNSIGNED NOT NULL,
  maintainer_id INT UNSIGNED NOT NULL,
  price DECIMAL(10,2) NOT NULL COMMENT 'derived from name and size; the package is free',
  stock INT NOT NULL COMMENT 'derived from name',
  weight_kg DOUBLE NOT NULL COMMENT 'derived from size: a gram per kilobyte',
  size BIGINT UNSIGNED NOT NULL COMMENT 'bytes of the .deb',
  installed_size_kib INT UNSIGNED NULL,
  priority ENUM('required','important','standard','optional','extra') NOT NULL,
  multi_arch ENUM('no','same','foreign','allowed') NULL,
  badges SET('essential','protected','bestseller','heavy','new') NOT NULL DEFAULT ''
    COMMENT 'essential and protected from the index; the others derived from name and size, new from live traffic',
  essential BIT(1) NOT NULL DEFAULT b'0',
  homepage VARCHAR(500) NULL,
  sha256 BINARY(32) NOT NULL,
  listed_on DATE NOT NULL COMMENT 'derived from name',
  handling_time TIME NOT NULL COMMENT 'derived from size',
  updated_at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  UNIQUE KEY name (name),
  KEY category_price (category_id, price),
  KEY maintainer (maintainer_id),
  CONSTRAINT products_category FOREIGN KEY (category_id) REFERENCES categories (id),
  CONSTRAINT products_maintainer FOREIGN KEY (maintainer_id) REFERENCES maintainers (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

-- The shop's addresses: a string key, so that a product can be found by its name.
CREATE TABLE slugs (
  slug VARCHAR(150) COLLATE utf8mb4_bin NOT NULL PRIMARY KEY,
  product_id INT UNSIGNED NOT NULL,
  created_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP,
  UNIQUE KEY product (product_id),
  CONSTRAINT slugs_product FOREIGN KEY (product_id) REFERENCES products (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE descriptions (
  product_id INT UNSIGNED NOT NULL PRIMARY KEY,
  body MEDIUMTEXT NOT NULL,
  CONSTRAINT descriptions_product FOREIGN KEY (product_id) REFERENCES products (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE tags (
  tag VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY COMMENT 'debtags: facet::value',
  facet VARCHAR(50) CHARACTER SET ascii COLLATE ascii_bin NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE product_tags (
  product_id INT UNSIGNED NOT NULL,
  tag VARCHAR(100) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  PRIMARY KEY (product_id, tag),
  KEY tag (tag),
  CONSTRAINT product_tags_product FOREIGN KEY (product_id) REFERENCES products (id),
  CONSTRAINT product_tags_tag FOREIGN KEY (tag) REFERENCES tags (tag)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

CREATE TABLE relations (
  product_id INT UNSIGNED NOT NULL,
  kind ENUM('pre-depends','depends','recommends','suggests','enhances','provides','replaces','breaks','conflicts')
    NOT NULL,
  position SMALLINT UNSIGNED NOT NULL COMMENT 'place within the field, from 0, alternatives counted too',
  choice SMALLINT UNSIGNED NOT NULL COMMENT 'relations of one product and kind with equal choice are alternatives',
  target VARCHAR(200) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'a package name, real or virtual',
  version_constraint VARCHAR(160) CHARACTER SET ascii COLLATE ascii_bin NULL COMMENT 'as the index has it: >= 2.34',
  PRIMARY KEY (product_id, kind, position),
  KEY target (target),
  CONSTRAINT relations_product FOREIGN KEY (product_id) REFERENCES products (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;

-- Written last: says that the load came to its end, and what it was made from.
CREATE TABLE demo_info (
  name VARCHAR(40) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY,
  value VARCHAR(200) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
