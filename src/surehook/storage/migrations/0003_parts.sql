-- Events that share a request.
-- needs: 1

-- Where in its payload an event stands (a JSON pointer), where that holds several; NULL: it is all of it.
ALTER TABLE inbox_events ADD COLUMN part text;
