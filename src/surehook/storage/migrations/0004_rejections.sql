-- Refused requests that can be judged again.
-- needs: 1

ALTER TABLE rejections ADD COLUMN method text NOT NULL DEFAULT 'POST';
ALTER TABLE rejections ADD COLUMN query text NOT NULL DEFAULT '';
-- NULL: it was not kept, or is not any more.
ALTER TABLE rejections ADD COLUMN body {blob};
