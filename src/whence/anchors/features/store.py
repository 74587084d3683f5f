"""A folder of extracted activations, and how the rest of `anchors` reads it.

    E/features.json          what was extracted, from which model, under which fingerprint
    E/sentences.parquet      problem_id, chunk_idx, token_start, token_end, token_count, row, token_row
    E/problem_<id>.safetensors   per problem, sites by name:
        blocks.L.hook_resid_post.mean     [sentences, d_model]
        blocks.L.hook_resid_post.last     [sentences, d_model]
        blocks.L.hook_resid_post.tokens   [tokens of all its sentences, d_model]
        blocks.L.vertical                 [sentences]
        blocks.L.vertical_heads           [sentences, head]   where heads were kept apart

`load(folder)` opens one; `Features.data(frame, …)` puts activations beside the rows of a table of
sentences, by problem and place, whatever labels that table has.
"""
