-- Lineage of every product. Comments are the data dictionary.
-- The journal folder is the record; this database is rebuilt from it whenever it is lost.

CREATE TABLE IF NOT EXISTS segments (name VARCHAR PRIMARY KEY);
COMMENT ON TABLE segments IS 'Journal files that are in this database already.';

CREATE TABLE IF NOT EXISTS schema_version (version VARCHAR);
COMMENT ON TABLE schema_version IS 'SHA-256 of the schema file that the views were made from.';

CREATE TABLE IF NOT EXISTS runs (
  run VARCHAR, study VARCHAR, recorded_at VARCHAR, definition JSON, versions JSON
);
COMMENT ON TABLE runs IS 'One row for each run and study: the study as it was, library versions.';

CREATE TABLE IF NOT EXISTS products (
  key VARCHAR PRIMARY KEY, asset VARCHAR, data_version VARCHAR, status VARCHAR, reason VARCHAR,
  payload JSON, preimage JSON, notes JSON
);
COMMENT ON TABLE products IS 'Each product once: fingerprint of all its inputs (key), what was hashed (preimage), content (payload), and store files (notes).';

CREATE TABLE IF NOT EXISTS materializations (
  run VARCHAR, study VARCHAR, asset VARCHAR, unit VARCHAR, model VARCHAR, layer VARCHAR,
  neuron INTEGER, key VARCHAR, data_version VARCHAR, code_version VARCHAR, status VARCHAR,
  reason VARCHAR, reused BOOLEAN, device VARCHAR, seconds DOUBLE, recorded_at VARCHAR
);
COMMENT ON TABLE materializations IS 'Each product announced for a unit by a run; reused tells whether it was computed there.';

CREATE TABLE IF NOT EXISTS failures (
  run VARCHAR, study VARCHAR, asset VARCHAR, unit VARCHAR, key VARCHAR, status VARCHAR,
  reason VARCHAR, recorded_at VARCHAR
);
COMMENT ON TABLE failures IS 'Units for which a run got nothing from a service, or had no budget left: asked for again by the next run. They are no materialization of a unit that has a product already, so that this one stays the newest.';

CREATE TABLE IF NOT EXISTS artefacts (
  hash VARCHAR PRIMARY KEY, file VARCHAR, kind VARCHAR, bytes BIGINT, recorded_at VARCHAR
);
COMMENT ON TABLE artefacts IS 'Stored content by SHA-256; file is the safetensors pack or block that holds it.';

CREATE TABLE IF NOT EXISTS shared (
  kind VARCHAR, provider VARCHAR, item VARCHAR, value JSON,
  PRIMARY KEY (kind, provider, item)
);
COMMENT ON TABLE shared IS 'Work done once for all units: captions, pictures and embeddings by content and model.';

CREATE TABLE IF NOT EXISTS providers (
  provider VARCHAR PRIMARY KEY, fingerprint JSON
);
COMMENT ON TABLE providers IS 'The models and settings behind each provider hash.';

CREATE TABLE IF NOT EXISTS images (
  hash VARCHAR, path VARCHAR, width INTEGER, height INTEGER, mode VARCHAR, format VARCHAR,
  bytes BIGINT, quarantined VARCHAR, PRIMARY KEY (hash, path)
);
COMMENT ON TABLE images IS 'Probing images by SHA-256 of their bytes, with every path they were seen at; unreadable ones carry the reason.';

CREATE TABLE IF NOT EXISTS removed (file VARCHAR, recorded_at VARCHAR, why VARCHAR);
COMMENT ON TABLE removed IS 'Store files that were removed on purpose: no kept run reached them, or they were damaged.';

CREATE TABLE IF NOT EXISTS work (
  run VARCHAR, study VARCHAR, asset VARCHAR, what VARCHAR, count BIGINT
);
COMMENT ON TABLE work IS 'What a run really did to compute an asset: forward passes, captions, calls, pictures.';

CREATE TABLE IF NOT EXISTS models (
  run VARCHAR, study VARCHAR, asset VARCHAR, role VARCHAR, part VARCHAR, source VARCHAR,
  revision VARCHAR, bytes BIGINT, licence VARCHAR, server VARCHAR,
  PRIMARY KEY (run, study, asset, role, part, source)
);
COMMENT ON TABLE models IS 'Models that an asset was made or reused with in a run: source as the study names it, commit of the hub (or sha256 of the files) that it was found at, size, licence, server.';

CREATE TABLE IF NOT EXISTS stage_runs (
  run VARCHAR, study VARCHAR, asset VARCHAR, units BIGINT, seconds DOUBLE, device VARCHAR,
  peak_memory BIGINT, recorded_at VARCHAR
);
COMMENT ON TABLE stage_runs IS 'How long a run took to compute an asset, for how many units, and the most memory in use meanwhile, in bytes: on CUDA what torch allocated on the card, otherwise what the process held.';

CREATE TABLE IF NOT EXISTS workers (
  run VARCHAR, study VARCHAR, asset VARCHAR, worker VARCHAR, device VARCHAR, parts BIGINT,
  seconds DOUBLE, lost BIGINT
);
COMMENT ON TABLE workers IS 'Who did the parts of an asset that can be handed out, in a run: machine and process, or this process; on what device, how many, in how many seconds; and how many parts were lost in all and handed out again.';

CREATE TABLE IF NOT EXISTS llm_calls (
  request_hash VARCHAR PRIMARY KEY, request JSON, response JSON, prompt_tokens BIGINT,
  completion_tokens BIGINT, cost DOUBLE, seconds DOUBLE, status VARCHAR
);
COMMENT ON TABLE llm_calls IS 'Each request to a language model and its answer, verbatim.';

CREATE OR REPLACE VIEW latest AS
SELECT m.*, p.payload, p.preimage
FROM materializations m LEFT JOIN products p USING (key)
QUALIFY row_number() OVER (
  PARTITION BY m.study, m.asset, m.unit
  ORDER BY concat_ws(chr(31), m.run, m.asset, m.model, m.layer)
           IN (SELECT unnest(getvariable('preferred')::VARCHAR[])) DESC,
           m.recorded_at DESC, m.run DESC
) = 1;
COMMENT ON VIEW latest IS 'The newest materialization of each asset, study and unit, with its content; those that the variable preferred names come before newer ones.';

CREATE OR REPLACE VIEW inputs AS
SELECT m.run, m.asset, m.unit, i.key AS input, i.value ->> '$' AS version
FROM materializations m JOIN products p USING (key), json_each(p.preimage, '$.inputs') i;
COMMENT ON VIEW inputs IS 'Data version of each input of each materialization.';

CREATE OR REPLACE VIEW method_labels AS
SELECT l.study, l.asset, l.model, l.layer, l.neuron, l.unit, l.payload ->> 'label' AS label,
       (l.payload ->> 'score')::DOUBLE AS score,
       (l.payload ->> 'interpretable')::BOOLEAN AS interpretable, l.status, l.reason,
       l.payload -> 'labels' AS labels, l.run, l.recorded_at
FROM latest l WHERE l.asset = 'labels' OR suffix(l.asset, '_labels');
COMMENT ON VIEW method_labels IS 'The label of each unit by each method; asset tells the method.';

CREATE OR REPLACE VIEW label_metrics AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit, l.asset, l.payload ->> 'label' AS label,
       e.key AS metric, (e.value ->> '$')::DOUBLE AS value
FROM latest l, json_each(l.payload, '$.metrics') e WHERE suffix(l.asset, '_metrics');
COMMENT ON VIEW label_metrics IS 'Each metric of each unit''s label, by the asset that measured it; NULL where it cannot be computed.';

-- Views of products: made from dnd_assets/results/products; do not edit from here on.

CREATE OR REPLACE VIEW exemplars AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       (e.key::INTEGER) + 1 AS position,
       e.value ->> 'image' AS image,
       (e.value ->> 'activation')::DOUBLE AS activation
FROM latest l, json_each(l.payload, '$.exemplars') e WHERE l.asset = 'activations';
COMMENT ON VIEW exemplars IS 'One of the most activating probing images of a unit on which it fires, largest activation first.';

CREATE OR REPLACE VIEW crops AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       (e.key::INTEGER) + 1 AS position,
       e.value ->> 'image' AS image,
       e.value ->> 'crop' AS crop,
       e.value -> 'box' AS box,
       (e.value ->> 'threshold')::INTEGER AS threshold,
       (e.value ->> 'activation')::DOUBLE AS activation
FROM latest l, json_each(l.payload, '$.crops') e WHERE l.asset = 'crops';
COMMENT ON VIEW crops IS 'An attention crop of an exemplar.';

CREATE OR REPLACE VIEW activating_images AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       (e.key::INTEGER) + 1 AS position,
       e.value ->> 'image' AS image,
       e.value ->> 'kind' AS kind,
       (e.value ->> 'activation')::DOUBLE AS activation
FROM latest l, json_each(l.payload, '$.activating') e WHERE l.asset = 'crops';
COMMENT ON VIEW activating_images IS 'One of the K most activating pictures out of exemplars and crops: what is captioned.';

CREATE OR REPLACE VIEW captions AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       (e.key::INTEGER) + 1 AS position,
       e.value ->> 'image' AS image,
       e.value ->> 'caption' AS caption
FROM latest l, json_each(l.payload, '$.captions') e WHERE l.asset = 'captions';
COMMENT ON VIEW captions IS 'The caption of an activating picture.';

CREATE OR REPLACE VIEW candidate_concepts AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       (e.key::INTEGER) + 1 AS position,
       e.value ->> '$' AS concept
FROM latest l, json_each(l.payload, '$.candidates') e WHERE l.asset = 'candidate_concepts';
COMMENT ON VIEW candidate_concepts IS 'A candidate concept, in the summariser''s order.';

CREATE OR REPLACE VIEW detection AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       l.payload ->> 'label' AS label,
       (l.payload ->> 'confidence')::DOUBLE AS confidence,
       (l.payload ->> '$.evidence.held_out')::DOUBLE AS held_out,
       (l.payload ->> '$.evidence.stability')::DOUBLE AS stability,
       (l.payload ->> '$.evidence.gap')::DOUBLE AS gap,
       (l.payload ->> '$.evidence.images')::INTEGER AS images,
       l.payload -> '$.evidence.label_set' AS label_set,
       l.status,
       l.reason
FROM latest l WHERE l.asset = 'detection_scores';
COMMENT ON VIEW detection IS 'What detects best where a unit is active, also where it is too unsure to be its label.';

CREATE OR REPLACE VIEW detection_scores AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       (e.key::INTEGER) + 1 AS position,
       e.value ->> 'concept' AS concept,
       (e.value ->> 'mcc')::DOUBLE AS mcc,
       (e.value ->> 'threshold')::DOUBLE AS threshold,
       (e.value ->> 'share')::DOUBLE AS share,
       (e.value ->> 'agreement')::DOUBLE AS agreement
FROM latest l, json_each(l.payload, '$.concepts') e WHERE l.asset = 'detection_scores';
COMMENT ON VIEW detection_scores IS 'How well the presence of a concept in captions predicts where a unit is active, best first.';

CREATE OR REPLACE VIEW detection_examples AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       (e.key::INTEGER) + 1 AS position,
       e.value ->> 'image' AS image,
       (e.value ->> 'activation')::DOUBLE AS activation,
       e.value ->> 'caption' AS caption,
       (e.value ->> 'shows')::BOOLEAN AS shows,
       e.value ->> 'band' AS band
FROM latest l, json_each(l.payload, '$.examples') e WHERE l.asset = 'detection_scores';
COMMENT ON VIEW detection_examples IS 'A reference image from the whole range of a unit''s activations.';

CREATE OR REPLACE VIEW synthetic_images AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       c.value ->> 'concept' AS concept,
       (e.value ->> 'index')::INTEGER AS index,
       (e.value ->> 'seed')::UBIGINT AS seed,
       e.value ->> 'image' AS image,
       (e.value ->> 'rejected')::BOOLEAN AS rejected
FROM latest l, json_each(l.payload, '$.concepts') c, json_each(c.value, '$.images') e WHERE l.asset = 'synthetic_images';
COMMENT ON VIEW synthetic_images IS 'A picture painted of a candidate concept.';

CREATE OR REPLACE VIEW scores AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       (e.key::INTEGER) + 1 AS position,
       e.value ->> 'concept' AS concept,
       (e.value ->> 'score')::DOUBLE AS score,
       (e.value ->> 'mean_rank')::DOUBLE AS mean_rank,
       (e.value ->> 'topk_squared')::DOUBLE AS topk_squared,
       (e.value ->> 'image_products')::DOUBLE AS image_products,
       (e.value ->> 'topk_squared_image_products')::DOUBLE AS topk_squared_image_products,
       e.value -> 'activations' AS activations
FROM latest l, json_each(l.payload, '$.concepts') e WHERE l.asset = 'scores';
COMMENT ON VIEW scores IS 'Every scoring function of a candidate concept, best concept first.';

CREATE OR REPLACE VIEW ablation_effects AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       (e.key::INTEGER) + 1 AS position,
       e.value ->> 'class' AS class,
       l.payload ->> 'how' AS how,
       (e.value ->> 'images')::INTEGER AS images,
       (e.value ->> '$.logit.before')::DOUBLE AS logit_before,
       (e.value ->> '$.logit.change')::DOUBLE AS logit_change,
       (e.value ->> '$.logit.low')::DOUBLE AS logit_low,
       (e.value ->> '$.logit.high')::DOUBLE AS logit_high,
       (e.value ->> '$.accuracy.before')::DOUBLE AS accuracy_before,
       (e.value ->> '$.accuracy.change')::DOUBLE AS accuracy_change,
       (e.value ->> '$.accuracy.low')::DOUBLE AS accuracy_low,
       (e.value ->> '$.accuracy.high')::DOUBLE AS accuracy_high
FROM latest l, json_each(l.payload, '$.classes') e WHERE l.asset = 'ablation_effects';
COMMENT ON VIEW ablation_effects IS 'What a class loses without a unit, the largest change first.';

CREATE OR REPLACE VIEW labels AS
SELECT l.study, l.model, l.layer, l.neuron, l.unit,
       l.payload ->> 'label' AS label,
       (l.payload ->> 'score')::DOUBLE AS score,
       (l.payload ->> 'confidence')::DOUBLE AS confidence,
       (l.payload ->> '$.evidence.held_out')::DOUBLE AS held_out,
       (l.payload ->> '$.evidence.stability')::DOUBLE AS stability,
       (l.payload ->> '$.evidence.gap')::DOUBLE AS gap,
       (l.payload ->> '$.evidence.confirmed')::BOOLEAN AS confirmed,
       l.status,
       l.reason,
       (l.payload ->> 'interpretable')::BOOLEAN AS interpretable,
       (l.payload ->> 'count')::INTEGER AS concepts,
       l.payload -> 'labels' AS labels,
       l.run,
       l.recorded_at
FROM latest l WHERE l.asset = 'labels';
COMMENT ON VIEW labels IS 'The newest label of each unit, the study''s own.';
