-- What one request writes is one function, so that it is one way to the server and back, and one transaction.
--
-- READ COMMITTED is what they are written for: each statement sees what was committed before it began, and the rows that are locked
-- first keep it from changing afterwards.

CREATE FUNCTION change_totals(of_bytes bigint, of_blobs bigint, of_manifests bigint) RETURNS void LANGUAGE sql AS $$
    INSERT INTO totals_changes (bytes, blobs, manifests)
    SELECT of_bytes, of_blobs, of_manifests WHERE of_bytes <> 0 OR of_blobs <> 0 OR of_manifests <> 0
$$;

-- Derives the entries of these digests again. The caller has locked the repository.
CREATE FUNCTION derive_entries(in_repository text, of_digests text[]) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM entries WHERE repository = in_repository AND digest = ANY (of_digests);
    INSERT INTO entries (repository, digest, manifest, used_at, is_pinned)
    SELECT repository, digest, manifest, used_at, is_pinned FROM manifest_entries
    WHERE repository = in_repository AND digest = ANY (of_digests);
    INSERT INTO entries (repository, digest, manifest, used_at, is_pinned)
    SELECT repository, digest, manifest, used_at, is_pinned FROM blob_entries
    WHERE repository = in_repository AND digest = ANY (of_digests);
END $$;

-- The repository, locked for this transaction alone; NULL when there is none.
CREATE FUNCTION lock_repository(by_name text) RETURNS bigint LANGUAGE sql AS $$
    SELECT id FROM repositories WHERE name = by_name FOR NO KEY UPDATE
$$;

-- The repository, made when it is new, and shared with those that add blobs to it.
CREATE FUNCTION share_repository(by_name text, at bigint) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found_id bigint;
BEGIN
    LOOP
        SELECT id INTO found_id FROM repositories WHERE name = by_name FOR SHARE;
        EXIT WHEN found_id IS NOT NULL;
        INSERT INTO repositories (name, created_at) VALUES (by_name, at) ON CONFLICT (name) DO NOTHING
        RETURNING id INTO found_id;
        EXIT WHEN found_id IS NOT NULL;
    END LOOP;
    RETURN found_id;
END $$;

-- Blobs.

CREATE FUNCTION link_blob(in_repository text, of_digest text, of_size bigint, at bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    is_new boolean;
    linked blob_links%ROWTYPE;
    blob blobs%ROWTYPE;
BEGIN
    PERFORM share_repository(in_repository, at);
    INSERT INTO blob_links (repository, digest, size, linked_at, used_at)
    VALUES (in_repository, of_digest, of_size, at, at) ON CONFLICT (repository, digest) DO NOTHING;
    is_new := FOUND;
    IF NOT is_new THEN
        SELECT * INTO linked FROM blob_links WHERE repository = in_repository AND digest = of_digest;
        IF linked.size = of_size THEN
            RETURN;
        END IF;
        UPDATE blob_links SET size = of_size WHERE repository = in_repository AND digest = of_digest;
    END IF;
    LOOP
        SELECT * INTO blob FROM blobs WHERE digest = of_digest FOR UPDATE;
        EXIT WHEN FOUND;
        INSERT INTO blobs (digest, size, holders) VALUES (of_digest, of_size, 0) ON CONFLICT (digest) DO NOTHING;
    END LOOP;
    UPDATE blobs SET size = of_size, holders = holders + is_new::int WHERE digest = of_digest;
    IF blob.holders = 0 THEN
        PERFORM change_totals(of_size, 1, 0);
    ELSE
        PERFORM change_totals(of_size - blob.size, 0, 0);
    END IF;
    IF is_new THEN
        PERFORM derive_entries(in_repository, ARRAY[of_digest]);
    END IF;
END $$;

-- Ends that the repository, which the caller has locked, holds these blobs; returns the bytes of those that lost their last holder,
-- and how many it held.
CREATE FUNCTION unlink_blobs(in_repository text, of_digests text[], OUT freed bigint, OUT unlinked bigint)
LANGUAGE plpgsql AS $$
DECLARE
    unheld bigint;
BEGIN
    PERFORM 1 FROM blobs WHERE digest = ANY (of_digests) ORDER BY digest FOR UPDATE;
    WITH gone AS (
        DELETE FROM blob_links WHERE repository = in_repository AND digest = ANY (of_digests) RETURNING digest
    ), lowered AS (
        UPDATE blobs SET holders = holders - 1 FROM gone WHERE blobs.digest = gone.digest
        RETURNING blobs.size, blobs.holders
    )
    SELECT coalesce(sum(size) FILTER (WHERE holders = 0), 0), count(*) FILTER (WHERE holders = 0), count(*)
    INTO freed, unheld, unlinked FROM lowered;
    PERFORM change_totals(-freed, -unheld, 0);
    IF unlinked > 0 THEN
        PERFORM derive_entries(in_repository, of_digests);
    END IF;
END $$;

CREATE FUNCTION unlink_blob(in_repository text, of_digest text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    is_gone boolean;
BEGIN
    PERFORM lock_repository(in_repository);
    SELECT unlinked > 0 INTO is_gone FROM unlink_blobs(in_repository, ARRAY[of_digest]);
    RETURN is_gone;
END $$;

-- Manifests.

-- Moves the time of last use of a manifest and of every manifest above it. References among foreign content may form a circle, and a
-- popular child may have any number of indexes: none is visited twice, and only a thousand.
CREATE FUNCTION touch_upwards(in_repository text, repository_id bigint, of_digest text, at bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    touched text[];
BEGIN
    WITH RECURSIVE above (id, digest) AS (
        SELECT id, digest FROM manifests WHERE repository = repository_id AND digest = of_digest
        UNION
        SELECT manifests.id, manifests.digest FROM above
        JOIN manifest_references ON manifest_references.repository = repository_id
            AND manifest_references.target = above.digest AND manifest_references.kind = 'child'
        JOIN manifests ON manifests.id = manifest_references.manifest
    ), visited AS (
        SELECT id FROM above LIMIT 1000
    ), moved AS (
        UPDATE manifests SET used_at = at FROM visited WHERE manifests.id = visited.id AND used_at < at
        RETURNING manifests.digest
    )
    SELECT array_agg(digest) INTO touched FROM moved;
    UPDATE entries SET used_at = at
    WHERE repository = in_repository AND digest = ANY (touched) AND manifest IS NOT NULL;
END $$;

-- Deletes a manifest of a locked repository with everything that belongs to it, and its bytes with the last repository. Returns the
-- tags that were on it.
CREATE FUNCTION remove_manifest(in_repository text, of_manifest bigint) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    gone_tags text[];
    targets text[];
    own_digest text;
    of_content bigint;
BEGIN
    WITH gone AS (DELETE FROM tags WHERE manifest = of_manifest RETURNING name)
    SELECT coalesce(array_agg(name ORDER BY name), '{}') INTO gone_tags FROM gone;
    WITH gone AS (DELETE FROM manifest_references WHERE manifest = of_manifest RETURNING target)
    SELECT coalesce(array_agg(DISTINCT target), '{}') INTO targets FROM gone;
    DELETE FROM referrers WHERE manifest = of_manifest;
    DELETE FROM manifests WHERE id = of_manifest RETURNING digest, content INTO own_digest, of_content;
    -- Another repository may be about to hold these bytes: it has this row locked, or waits here and then finds none. The second
    -- statement sees what it has committed.
    PERFORM 1 FROM manifest_contents WHERE id = of_content FOR UPDATE;
    DELETE FROM manifest_contents
    WHERE id = of_content AND NOT EXISTS (SELECT 1 FROM manifests WHERE content = of_content);
    PERFORM change_totals(0, 0, -1);
    PERFORM derive_entries(in_repository, targets || ARRAY[own_digest]);
    RETURN gone_tags;
END $$;

-- NULL when there is none.
CREATE FUNCTION delete_manifest(in_repository text, of_digest text) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    repository_id bigint := lock_repository(in_repository);
    found_id bigint;
BEGIN
    SELECT id INTO found_id FROM manifests WHERE repository = repository_id AND digest = of_digest;
    IF found_id IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN remove_manifest(in_repository, found_id);
END $$;

-- The row of the bytes, which all repositories share, kept from being deleted until this has committed.
CREATE FUNCTION put_content(of_digest text, of_bytes bytea) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    found_id bigint;
BEGIN
    LOOP
        SELECT id INTO found_id FROM manifest_contents WHERE digest = of_digest FOR KEY SHARE;
        EXIT WHEN found_id IS NOT NULL;
        INSERT INTO manifest_contents (digest, bytes) VALUES (of_digest, of_bytes) ON CONFLICT (digest) DO NOTHING
        RETURNING id INTO found_id;
        EXIT WHEN found_id IS NOT NULL;
    END LOOP;
    RETURN found_id;
END $$;

-- Points tags at a manifest of a locked repository.
CREATE FUNCTION point_tags(in_repository text, repository_id bigint, names text[], at_manifest bigint, at bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    changed text[];
BEGIN
    -- A tag changes no more of an entry than whether it is pinned.
    SELECT array_agg(manifests.digest) INTO changed FROM pins
    LEFT JOIN tags ON tags.repository = repository_id AND tags.name = pins.reference
    JOIN manifests ON manifests.id IN (tags.manifest, at_manifest)
    WHERE pins.repository = in_repository AND pins.reference = ANY (names);
    INSERT INTO tags (repository, name, manifest, confirmed_at)
    SELECT DISTINCT repository_id, name, at_manifest, at FROM unnest(names) AS name
    ON CONFLICT (repository, name) DO UPDATE SET manifest = excluded.manifest, confirmed_at = excluded.confirmed_at;
    IF changed IS NOT NULL THEN
        PERFORM derive_entries(in_repository, changed);
    END IF;
END $$;

-- The tag of a push that may not be made or moved, with what is the matter with it; else NULL.
CREATE FUNCTION refused_tag(
    repository_id bigint, of_digest text, names text[], unmovable text[], may_create boolean
) RETURNS text[] LANGUAGE sql AS $$
    SELECT ARRAY[CASE WHEN tags.name IS NULL THEN 'uncreatable' ELSE 'unmovable' END, wanted.name]
    FROM unnest(names) WITH ORDINALITY AS wanted (name, place)
    LEFT JOIN tags ON tags.repository = repository_id AND tags.name = wanted.name
    LEFT JOIN manifests ON manifests.id = tags.manifest
    WHERE CASE
        WHEN tags.name IS NULL THEN NOT may_create
        ELSE wanted.name = ANY (unmovable) AND manifests.digest <> of_digest
    END
    ORDER BY place LIMIT 1
$$;

-- Pushes a manifest. The answer is one word and what belongs to it. References come as arrays of one length.
CREATE FUNCTION push_manifest(
    in_repository text, of_digest text, of_media_type text, of_bytes bytea, at bigint,
    names text[], unmovable text[], may_create boolean,
    of_condition text, condition_digests text[],
    is_checked boolean, foreign_missing text[],
    targets text[], kinds text[], sizes bigint[], optional boolean[],
    of_subject text, of_artifact_type bytea, of_annotations text
) RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
    repository_id bigint;
    of_manifest bigint;
    refusal text[];
    points_at text;
    missing text[];
    wrong text[];
BEGIN
    -- A repository that does not exist cannot be locked. When somebody else makes it meanwhile, everything is looked at again.
    LOOP
        repository_id := lock_repository(in_repository);
        refusal := refused_tag(repository_id, of_digest, names, unmovable, may_create);
        IF refusal IS NOT NULL THEN
            RETURN refusal;
        END IF;
        IF of_condition <> 'none' THEN
            points_at := NULL;
            SELECT manifests.digest INTO points_at FROM tags JOIN manifests ON manifests.id = tags.manifest
            WHERE tags.repository = repository_id AND tags.name = names[1];
            IF NOT (CASE of_condition
                WHEN 'points-at' THEN coalesce(points_at = ANY (condition_digests), FALSE)
                WHEN 'exists' THEN points_at IS NOT NULL
                WHEN 'absent' THEN points_at IS NULL
                WHEN 'points-at-none-of' THEN NOT coalesce(points_at = ANY (condition_digests), FALSE)
            END) THEN
                RETURN ARRAY['condition'];
            END IF;
        END IF;
        IF is_checked THEN
            SELECT array_agg(target) FILTER (WHERE held IS NULL), array_agg(target) FILTER (WHERE held <> size)
            INTO missing, wrong FROM (
                SELECT wanted.target, wanted.size, coalesce(
                    CASE WHEN wanted.kind = 'child' THEN (
                        SELECT octet_length(manifest_contents.bytes)::bigint FROM manifests
                        JOIN manifest_contents ON manifest_contents.id = manifests.content
                        WHERE manifests.repository = repository_id AND manifests.digest = wanted.target
                    ) END,
                    (
                        SELECT blob_links.size FROM blob_links
                        WHERE blob_links.repository = in_repository AND blob_links.digest = wanted.target
                    )
                ) AS held
                FROM unnest(targets, kinds, sizes, optional) AS wanted (target, kind, size, is_optional)
                WHERE NOT wanted.is_optional
            ) AS looked_at;
            missing := coalesce(missing, '{}') || foreign_missing;
            IF cardinality(missing) > 0 THEN
                RETURN ARRAY['missing'] || missing;
            ELSIF wrong IS NOT NULL THEN
                RETURN ARRAY['wrong-size'] || wrong;
            END IF;
        END IF;
        EXIT WHEN repository_id IS NOT NULL;
        INSERT INTO repositories (name, created_at) VALUES (in_repository, at) ON CONFLICT (name) DO NOTHING
        RETURNING id INTO repository_id;
        EXIT WHEN repository_id IS NOT NULL;
    END LOOP;

    -- The type is the one of the last push.
    UPDATE manifests SET media_type = of_media_type, pushed_at = at
    WHERE repository = repository_id AND digest = of_digest RETURNING id INTO of_manifest;
    IF of_manifest IS NULL THEN
        INSERT INTO manifests (repository, digest, content, media_type, pushed_at, used_at)
        VALUES (repository_id, of_digest, put_content(of_digest, of_bytes), of_media_type, at, at)
        RETURNING id INTO of_manifest;
        PERFORM change_totals(0, 0, 1);
    END IF;
    INSERT INTO manifest_references (repository, target, manifest, kind, size)
    SELECT repository_id, target, of_manifest, kind, size
    FROM unnest(targets, kinds, sizes) WITH ORDINALITY AS named (target, kind, size, place) ORDER BY place
    ON CONFLICT DO NOTHING;
    PERFORM derive_entries(in_repository, targets || ARRAY[of_digest]);
    -- What comes again, or below an index that is here already, was asked for just now.
    PERFORM touch_upwards(in_repository, repository_id, of_digest, at);
    IF of_subject IS NOT NULL THEN
        INSERT INTO referrers (repository, subject, digest, manifest, artifact_type, annotations)
        VALUES (repository_id, of_subject, of_digest, of_manifest, of_artifact_type, of_annotations)
        ON CONFLICT (repository, subject, digest)
        DO UPDATE SET artifact_type = excluded.artifact_type, annotations = excluded.annotations;
    END IF;
    IF cardinality(names) > 0 THEN
        PERFORM point_tags(in_repository, repository_id, names, of_manifest, at);
    END IF;
    RETURN ARRAY['stored'];
END $$;

-- Tags.

CREATE FUNCTION confirm_tag(in_repository text, of_name text, of_digest text, at bigint) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    repository_id bigint := lock_repository(in_repository);
    found_id bigint;
BEGIN
    SELECT id INTO found_id FROM manifests WHERE repository = repository_id AND digest = of_digest;
    IF found_id IS NULL THEN
        RETURN FALSE;
    END IF;
    PERFORM point_tags(in_repository, repository_id, ARRAY[of_name], found_id, at);
    RETURN TRUE;
END $$;

CREATE FUNCTION delete_tag(in_repository text, of_name text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    repository_id bigint := lock_repository(in_repository);
    was_on bigint;
BEGIN
    DELETE FROM tags WHERE repository = repository_id AND name = of_name RETURNING manifest INTO was_on;
    IF was_on IS NULL THEN
        RETURN FALSE;
    END IF;
    IF EXISTS (SELECT 1 FROM pins WHERE repository = in_repository AND reference = of_name) THEN
        PERFORM derive_entries(in_repository, ARRAY(SELECT digest FROM manifests WHERE id = was_on));
    END IF;
    RETURN TRUE;
END $$;

-- Pins. Two that pin the same at the same time, or a tag of that name, wait for the repository, if there is one; if there is none, there
-- is nothing to be pinned, and whoever makes it finds the pin or is seen by it: both derive.

CREATE FUNCTION derive_pinned(in_repository text, repository_id bigint, of_reference text) RETURNS void
LANGUAGE sql AS $$
    SELECT derive_entries(in_repository, ARRAY[of_reference] || ARRAY(
        SELECT manifests.digest FROM tags JOIN manifests ON manifests.id = tags.manifest
        WHERE tags.repository = repository_id AND tags.name = of_reference
    ))
$$;

CREATE FUNCTION pin(in_repository text, of_reference text, at bigint) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    repository_id bigint := lock_repository(in_repository);
BEGIN
    -- Held until the pin is committed, so that a repository which is made meanwhile does not miss it.
    IF repository_id IS NULL THEN
        LOCK TABLE repositories IN SHARE MODE;
        repository_id := lock_repository(in_repository);
    END IF;
    INSERT INTO pins (repository, reference, pinned_at) VALUES (in_repository, of_reference, at)
    ON CONFLICT (repository, reference) DO NOTHING;
    PERFORM derive_pinned(in_repository, repository_id, of_reference);
END $$;

CREATE FUNCTION unpin(in_repository text, of_reference text) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    repository_id bigint := lock_repository(in_repository);
BEGIN
    DELETE FROM pins WHERE repository = in_repository AND reference = of_reference;
    IF NOT FOUND THEN
        RETURN FALSE;
    END IF;
    PERFORM derive_pinned(in_repository, repository_id, of_reference);
    RETURN TRUE;
END $$;

-- Uses. Repositories come in the order of their names, as for everyone who locks several.
CREATE FUNCTION touch(repositories_used text[], digests_used text[], times bigint[]) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    of_repository record;
    used record;
BEGIN
    FOR of_repository IN
        SELECT name, id FROM repositories WHERE name = ANY (repositories_used) ORDER BY name FOR NO KEY UPDATE
    LOOP
        FOR used IN
            SELECT digest, at FROM unnest(repositories_used, digests_used, times) AS one (repository, digest, at)
            WHERE repository = of_repository.name
        LOOP
            UPDATE blob_links SET used_at = used.at
            WHERE repository = of_repository.name AND digest = used.digest AND used_at < used.at;
            IF FOUND THEN
                UPDATE entries SET used_at = used.at
                WHERE repository = of_repository.name AND digest = used.digest AND manifest IS NULL;
            END IF;
            PERFORM touch_upwards(of_repository.name, of_repository.id, used.digest, used.at);
        END LOOP;
    END LOOP;
END $$;

-- Removing entries.

-- Removes those of the targets, and of their targets in turn, that nothing in the locked repository names any more. A manifest that has
-- a tag or a pin stays, and so does one that would have been an entry anyway because it was not named as a child. Manifests that are
-- beyond a thousand stay as entries of their own.
CREATE FUNCTION remove_unnamed(in_repository text, first_targets text[], first_are_children boolean[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    targets text[] := first_targets;
    are_children boolean[] := first_are_children;
    target_digest text;
    is_child boolean;
    place int;
    walked int := 0;
    freed_in_all bigint := 0;
    freed_here bigint;
    entry record;
    named record;
BEGIN
    place := cardinality(targets);
    WHILE place > 0 LOOP
        target_digest := targets[place];
        is_child := are_children[place];
        place := place - 1;
        SELECT manifest, is_pinned INTO entry FROM entries
        WHERE repository = in_repository AND digest = target_digest;
        CONTINUE WHEN NOT FOUND;
        IF entry.manifest IS NULL THEN
            IF NOT entry.is_pinned THEN
                SELECT freed INTO freed_here FROM unlink_blobs(in_repository, ARRAY[target_digest]);
                freed_in_all := freed_in_all + freed_here;
            END IF;
            CONTINUE;
        END IF;
        CONTINUE WHEN entry.is_pinned OR NOT is_child OR walked = 1000
            OR EXISTS (SELECT 1 FROM tags WHERE manifest = entry.manifest);
        walked := walked + 1;
        -- The manifest may be held as a blob, too.
        place := place + 1;
        targets[place] := target_digest;
        are_children[place] := FALSE;
        FOR named IN
            SELECT target, kind = 'child' AS is_child FROM manifest_references WHERE manifest = entry.manifest
        LOOP
            place := place + 1;
            targets[place] := named.target;
            are_children[place] := named.is_child;
        END LOOP;
        PERFORM remove_manifest(in_repository, entry.manifest);
    END LOOP;
    RETURN freed_in_all;
END $$;

-- Removes what is under the digest in the locked repository, and whatever only that reached.
CREATE FUNCTION remove_entry(
    in_repository text, repository_id bigint, of_digest text, OUT gone_tags text[], OUT freed bigint
) LANGUAGE plpgsql AS $$
DECLARE
    targets text[] := ARRAY[of_digest];
    are_children boolean[] := ARRAY[FALSE];
    of_manifest bigint;
    more_targets text[];
    more_are_children boolean[];
BEGIN
    gone_tags := '{}';
    SELECT id INTO of_manifest FROM manifests WHERE repository = repository_id AND digest = of_digest;
    IF of_manifest IS NOT NULL THEN
        SELECT coalesce(array_agg(target), '{}'), coalesce(array_agg(kind = 'child'), '{}')
        INTO more_targets, more_are_children FROM manifest_references WHERE manifest = of_manifest;
        targets := targets || more_targets;
        are_children := are_children || more_are_children;
        gone_tags := remove_manifest(in_repository, of_manifest);
    END IF;
    freed := remove_unnamed(in_repository, targets, are_children);
END $$;

-- The same for one that a list names, which must not name it again: the caller would never come to an end.
CREATE FUNCTION remove_listed(
    in_repository text, repository_id bigint, of_digest text, OUT gone_tags text[], OUT freed bigint
) LANGUAGE plpgsql AS $$
BEGIN
    SELECT removed.gone_tags, removed.freed INTO gone_tags, freed
    FROM remove_entry(in_repository, repository_id, of_digest) AS removed;
    IF EXISTS (SELECT 1 FROM entries WHERE repository = in_repository AND digest = of_digest) THEN
        RAISE EXCEPTION USING ERRCODE = 'EN001', MESSAGE = format('entries.digest holds %s', quote_ident(of_digest));
    END IF;
END $$;

-- Evicts entries, one caller at a time.
CREATE FUNCTION evict(used_before bigint, bytes_wanted bigint, entries_max bigint) RETURNS TABLE (
    repository text, digest text, gone_tags text[], freed bigint, used_at bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    oldest record;
    repository_id bigint;
    removed record;
    freed_in_all bigint := 0;
    evicted bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(current_schema()), 1);
    WHILE freed_in_all < bytes_wanted AND evicted < entries_max LOOP
        -- What is removed is not found again. What it leaves behind, a child with a tag, takes its own place in the order.
        SELECT entries.repository, entries.digest, entries.used_at INTO oldest FROM entries
        WHERE NOT is_pinned AND entries.used_at < evict.used_before
        ORDER BY entries.used_at, entries.repository, entries.digest LIMIT 1;
        EXIT WHEN NOT FOUND;
        repository_id := lock_repository(oldest.repository);
        -- It may have been pulled, pinned or named before the lock was had.
        CONTINUE WHEN NOT EXISTS (
            SELECT 1 FROM entries WHERE entries.repository = oldest.repository AND entries.digest = oldest.digest
            AND NOT is_pinned AND entries.used_at = oldest.used_at
        );
        SELECT * INTO removed FROM remove_listed(oldest.repository, repository_id, oldest.digest);
        freed_in_all := freed_in_all + removed.freed;
        evicted := evicted + 1;
        RETURN QUERY SELECT oldest.repository, oldest.digest, removed.gone_tags, removed.freed, oldest.used_at;
    END LOOP;
END $$;

-- Forgets a tag, a digest, or with NULL for both everything. A row without digest names what is pinned.
CREATE FUNCTION forget(in_repository text, of_tag text, of_digest text) RETURNS TABLE (
    pinned text, digest text, gone_tags text[], freed bigint, used_at bigint
) LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    repository_id bigint := lock_repository(in_repository);
    held record;
    first_pinned text;
    removed record;
    freed_more bigint;
BEGIN
    IF repository_id IS NULL THEN
        RETURN;
    END IF;
    IF of_tag IS NOT NULL THEN
        SELECT manifests.digest, manifests.used_at, manifests.id INTO held FROM tags
        JOIN manifests ON manifests.id = tags.manifest
        WHERE tags.repository = repository_id AND tags.name = of_tag;
        IF NOT FOUND THEN
            RETURN;
        END IF;
        IF EXISTS (SELECT 1 FROM pins WHERE repository = in_repository AND reference = of_tag) THEN
            RETURN QUERY SELECT of_tag, NULL::text, NULL::text[], NULL::bigint, NULL::bigint;
            RETURN;
        END IF;
        -- A tag that is not the last one on its manifest, or whose manifest is part of an index, goes alone.
        IF (SELECT count(*) FROM tags WHERE manifest = held.id) > 1
            OR NOT EXISTS (SELECT 1 FROM entries WHERE repository = in_repository AND digest = held.digest)
        THEN
            PERFORM delete_tag(in_repository, of_tag);
            RETURN QUERY SELECT NULL::text, held.digest, ARRAY[of_tag], 0::bigint, held.used_at;
            RETURN;
        END IF;
        IF EXISTS (SELECT 1 FROM pins WHERE repository = in_repository AND reference = held.digest) THEN
            RETURN QUERY SELECT held.digest, NULL::text, NULL::text[], NULL::bigint, NULL::bigint;
            RETURN;
        END IF;
        SELECT * INTO removed FROM remove_entry(in_repository, repository_id, held.digest);
        RETURN QUERY SELECT NULL::text, held.digest, removed.gone_tags, removed.freed, held.used_at;
    ELSIF of_digest IS NOT NULL THEN
        -- A digest goes whatever names it: who asks for exactly this does not want it here.
        SELECT max(uses.used_at) AS used_at INTO held FROM (
            SELECT manifests.used_at FROM manifests
            WHERE manifests.repository = repository_id AND manifests.digest = of_digest
            UNION ALL
            SELECT blob_links.used_at FROM blob_links
            WHERE blob_links.repository = in_repository AND blob_links.digest = of_digest
        ) AS uses;
        IF held.used_at IS NULL THEN
            RETURN;
        END IF;
        SELECT reference INTO first_pinned FROM pins WHERE repository = in_repository AND (
            reference = of_digest OR reference IN (
                SELECT tags.name FROM tags JOIN manifests ON manifests.id = tags.manifest
                WHERE manifests.repository = repository_id AND manifests.digest = of_digest
            )
        ) ORDER BY reference <> of_digest, reference LIMIT 1;
        IF first_pinned IS NOT NULL THEN
            RETURN QUERY SELECT first_pinned, NULL::text, NULL::text[], NULL::bigint, NULL::bigint;
            RETURN;
        END IF;
        SELECT * INTO removed FROM remove_entry(in_repository, repository_id, of_digest);
        SELECT unlinked.freed INTO freed_more FROM unlink_blobs(in_repository, ARRAY[of_digest]) AS unlinked;
        RETURN QUERY SELECT NULL::text, of_digest, removed.gone_tags, removed.freed + freed_more, held.used_at;
    ELSE
        SELECT reference INTO first_pinned FROM pins WHERE repository = in_repository AND (
            EXISTS (SELECT 1 FROM tags WHERE tags.repository = repository_id AND tags.name = reference)
            OR EXISTS (SELECT 1 FROM manifests WHERE manifests.repository = repository_id AND digest = reference)
            OR EXISTS (SELECT 1 FROM blob_links WHERE blob_links.repository = in_repository AND digest = reference)
        ) ORDER BY reference LIMIT 1;
        IF first_pinned IS NOT NULL THEN
            RETURN QUERY SELECT first_pinned, NULL::text, NULL::text[], NULL::bigint, NULL::bigint;
            RETURN;
        END IF;
        LOOP
            -- A circle of manifests that name one another has no entry: whatever manifest is left comes next.
            SELECT entries.digest, entries.used_at INTO held FROM entries
            WHERE entries.repository = in_repository ORDER BY entries.digest LIMIT 1;
            IF NOT FOUND THEN
                SELECT manifests.digest, manifests.used_at INTO held FROM manifests
                WHERE manifests.repository = repository_id LIMIT 1;
                EXIT WHEN NOT FOUND;
            END IF;
            SELECT * INTO removed FROM remove_listed(in_repository, repository_id, held.digest);
            RETURN QUERY SELECT NULL::text, held.digest, removed.gone_tags, removed.freed, held.used_at;
        END LOOP;
    END IF;
END $$;

-- The bytes of the held blobs that are reached from a digest, each counted once.
CREATE FUNCTION reached_bytes(in_repository text, of_digest text, of_manifest bigint) RETURNS bigint
LANGUAGE sql STABLE AS $$
    WITH RECURSIVE reached (id, repository) AS (
        SELECT id, repository FROM manifests WHERE id = of_manifest
        UNION
        SELECT child.id, child.repository FROM reached
        JOIN manifest_references ON manifest_references.manifest = reached.id AND manifest_references.kind = 'child'
        JOIN manifests AS child ON child.repository = reached.repository AND child.digest = manifest_references.target
    ), visited AS (
        SELECT id FROM reached LIMIT 1000
    )
    SELECT coalesce(sum(size), 0)::bigint FROM blob_links WHERE repository = in_repository AND digest IN (
        SELECT of_digest
        UNION
        SELECT target FROM visited JOIN manifest_references ON manifest_references.manifest = visited.id
    )
$$;

-- Uploads. The row of a session comes before that of its repository, and one that is made locks nothing that anyone waits with.

CREATE FUNCTION create_upload(
    of_id text, in_repository text, of_owner bytea, of_algorithm text, at bigint, open_max bigint
) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    repository_id bigint;
    open bigint;
BEGIN
    LOOP
        repository_id := lock_repository(in_repository);
        -- The same order again, whose answer was lost.
        IF EXISTS (SELECT 1 FROM uploads WHERE id = of_id AND repository = repository_id AND owner = of_owner) THEN
            RETURN NULL;
        END IF;
        SELECT count(*) INTO open FROM uploads WHERE repository = repository_id;
        IF open >= open_max THEN
            RETURN open;
        END IF;
        EXIT WHEN repository_id IS NOT NULL;
        INSERT INTO repositories (name, created_at) VALUES (in_repository, at) ON CONFLICT (name) DO NOTHING
        RETURNING id INTO repository_id;
        EXIT WHEN repository_id IS NOT NULL;
    END LOOP;
    INSERT INTO uploads (id, repository, owner, algorithm, touched_at)
    VALUES (of_id, repository_id, of_owner, of_algorithm, at);
    RETURN NULL;
END $$;

-- Whether an upload may be ended by this writer, or, with NULL, by somebody who is none.
CREATE FUNCTION may_end(upload uploads, by_writer text) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT CASE
        WHEN by_writer IS NULL THEN upload.writer IS NULL OR upload.claimed_until <= clock_timestamp()
        ELSE coalesce(upload.writer = by_writer, FALSE)
    END
$$;

CREATE FUNCTION finish_upload(
    of_id text, by_writer text, in_repository text, of_digest text, of_size bigint, at bigint
) RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE
    upload uploads%ROWTYPE;
BEGIN
    SELECT * INTO upload FROM uploads WHERE id = of_id FOR UPDATE;
    IF FOUND THEN
        IF NOT may_end(upload, by_writer) THEN
            RETURN FALSE;
        END IF;
        DELETE FROM uploads WHERE id = of_id
        AND repository = (SELECT id FROM repositories WHERE name = in_repository);
    END IF;
    PERFORM link_blob(in_repository, of_digest, of_size, at);
    RETURN TRUE;
END $$;

-- The first key that says which one it follows is the one that follows.
CREATE FUNCTION add_signing_key(of_id text, of_secret bytea, at bigint, after_key text) RETURNS boolean
LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext(current_schema()), 2);
    IF (SELECT id FROM signing_keys ORDER BY number DESC LIMIT 1) IS DISTINCT FROM after_key THEN
        RETURN FALSE;
    END IF;
    INSERT INTO signing_keys (id, secret, created_at) VALUES (of_id, of_secret, at) ON CONFLICT (id) DO NOTHING;
    RETURN FOUND;
END $$;

-- Makes one row of all the changes; nothing when another process is at it.
CREATE FUNCTION gather_totals() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF pg_try_advisory_xact_lock(hashtext(current_schema()), 3) THEN
        WITH gone AS (DELETE FROM totals_changes RETURNING bytes, blobs, manifests)
        INSERT INTO totals_changes (bytes, blobs, manifests)
        SELECT sum(bytes), sum(blobs), sum(manifests) FROM gone HAVING count(*) > 0;
    END IF;
END $$;
