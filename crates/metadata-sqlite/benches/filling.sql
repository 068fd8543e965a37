-- Fills the repository growth/app of a database of this schema with tags, manifests, blobs and referrers, and the catalog with
-- repositories: as many of each as the one row of the temporary table `filling (count)` says, which has to be there already.
--
-- Digests are spread as real ones are, by a multiplication modulo 2^32 that no two numbers share, but are those of no bytes. What
-- is written goes by the triggers of the schema, so that the tables which they keep are as after so many pushes.

PRAGMA cache_size = -1000000;

BEGIN;

CREATE TEMP TABLE numbers AS
WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < (SELECT count FROM filling))
SELECT
    n,
    'sha256:' || printf('%08x%056x', (n * 2654435761) % 4294967296, n) AS manifest,
    'sha256:' || printf('%08x%056x', (n * 2246822519) % 4294967296, n) AS blob
FROM counter;

INSERT INTO repositories (name, created_at) VALUES ('growth/app', 0) ON CONFLICT DO NOTHING;
INSERT INTO repositories (name, created_at) SELECT printf('growth/repository-%07d', n), 0 FROM numbers ORDER BY n;

CREATE TEMP TABLE place AS SELECT
    (SELECT id FROM repositories WHERE name = 'growth/app') AS repository,
    (SELECT coalesce(max(id), 0) FROM manifest_contents) AS contents,
    (SELECT coalesce(max(id), 0) FROM manifests) AS manifests;

INSERT INTO blob_links (repository, digest, size, linked_at, used_at)
SELECT 'growth/app', blob, 4096, 0, 0 FROM numbers ORDER BY blob;

INSERT INTO manifest_contents (id, digest, bytes)
SELECT contents + n, manifest, CAST(
    '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
    || '"application/vnd.oci.image.config.v1+json","digest":"' || blob || '","size":4096},"layers":[{"mediaType":'
    || '"application/vnd.oci.image.layer.v1.tar+gzip","digest":"' || blob || '","size":4096}]}' AS BLOB
)
FROM numbers, place ORDER BY n;

INSERT INTO manifests (id, repository, digest, content, media_type, pushed_at, used_at)
SELECT manifests + n, repository, manifest, contents + n, 'application/vnd.oci.image.manifest.v1+json', 0, 0
FROM numbers, place ORDER BY manifest;

INSERT INTO manifest_references (repository, target, manifest, kind, size)
SELECT repository, blob, manifests + n, 'config', 4096 FROM numbers, place ORDER BY blob;

INSERT INTO referrers (repository, subject, digest, manifest, artifact_type, annotations)
SELECT repository, 'sha256:' || printf('%064x', 0), manifest, manifests + n, 'application/example', '{}'
FROM numbers, place ORDER BY manifest;

INSERT INTO tags (repository, name, manifest, confirmed_at)
SELECT repository, printf('v%07d', n), manifests + n, 0 FROM numbers, place ORDER BY n;

DROP TABLE place;
DROP TABLE numbers;
COMMIT;
