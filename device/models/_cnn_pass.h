/* The passes of _cnn.c. This file is included once for each kind of processor: FOR_PROCESSOR is an attribute of each
 * function, RUN the name of what is called, LANES the float32 numbers of one of its vectors: 4, 8 or 16.
 *
 * Loops are cut so that what is summed stays in sixteen vectors, and each vector is as wide as the processor's: gcc takes
 * wider ones apart number by number. */

#define NAMED_(name, run) name##_of_##run
#define NAMED(name, run) NAMED_(name, run)
#define Vec NAMED(Vec, RUN)
#define Mask NAMED(Mask, RUN)
#define Few NAMED(Few, RUN)
#define sum_of NAMED(sum_of, RUN)
#define pool NAMED(pool, RUN)
#define convolve1 NAMED(convolve1, RUN)
#define convolve2 NAMED(convolve2, RUN)
#define hide NAMED(hide, RUN)
#define forward NAMED(forward, RUN)
#define find_error NAMED(find_error, RUN)
#define back_outputs NAMED(back_outputs, RUN)
#define back_hidden NAMED(back_hidden, RUN)
#define back_flat NAMED(back_flat, RUN)
#define back2 NAMED(back2, RUN)
#define back1 NAMED(back1, RUN)
#define INLINE static inline __attribute__((always_inline FOR_PROCESSOR))

typedef float Vec __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));
typedef int32_t Mask __attribute__((vector_size(4 * LANES), may_alias, aligned(4)));
#define FEW (LANES < 8 ? LANES : 8) /* 120 numbers are whole vectors of so many */
typedef float Few __attribute__((vector_size(4 * FEW), may_alias, aligned(4)));

INLINE float sum_of(const Few *v)
{
    float sum = 0;
    for (int i = 0; i < FEW; i++)
        sum += (*v)[i];
    return sum;
}

/* The largest of four, its place, a bias and the ReLU. Of equal ones the first counts; a NaN is never lost. */
INLINE void pool(const Vec *four, const Vec *bias, float *out, int32_t *where)
{
    Vec most = four[0];
    Mask place = {0};
    for (int i = 1; i < 4; i++) {
        Mask larger = (four[i] > most) | (four[i] != four[i]);
        most = (Vec)(((Mask)most & ~larger) | ((Mask)four[i] & larger));
        place = (place & ~larger) | (i & larger);
    }
    most += *bias;
    *(Vec *)out = (Vec)((Mask)most & ~(Mask)(most <= 0));
    *(Mask *)where = place;
}

INLINE void convolve1(const Work *work, const float *x, Picture *picture)
{
    for (int m = 0; m < MAPS1; m += LANES) {
        const Vec bias = *(const Vec *)(work->bias1 + m);
        Vec kernel[TAPS];
        for (int t = 0; t < TAPS; t++)
            kernel[t] = *(const Vec *)(work->room->kernel1[t] + m);
        for (int r = 0; r < POOLED1; r++)
            for (int c = 0; c < POOLED1; c++) {
                const float *from = x + 2 * r * SIDE + 2 * c;
                Vec four[4];
                for (int i = 0; i < 4; i++)
                    four[i] = kernel[0] * from[i / 2 * SIDE + i % 2];
                for (int t = 1; t < TAPS; t++)
                    for (int i = 0; i < 4; i++)
                        four[i] += kernel[t] * from[(i / 2 + t / 3) * SIDE + i % 2 + t % 3];
                pool(four, &bias, picture->pool1[r * POOLED1 + c] + m, picture->where1[r * POOLED1 + c] + m);
            }
    }
}

INLINE void convolve2(const Work *work, Picture *picture)
{
    const Room *room = work->room;
    for (int m = 0; m < MAPS2; m += 2 * LANES)
        for (int r = 0; r < POOLED2; r++)
            for (int c = 0; c < POOLED2; c++) {
                Vec sums[2][4] = {{{0}}};
                for (int line = 0; line < 3; line++) {
                    const float *at = picture->pool1[(2 * r + line) * POOLED1 + 2 * c];
                    const float *kernel = room->kernel2[line * ROW] + m;
                    for (int t = 0; t < ROW; t++, at++, kernel += MAPS2)
                        for (int j = 0; j < 2; j++)
                            for (int i = 0; i < 4; i++)
                                sums[j][i] += *(const Vec *)(kernel + j * LANES) * at[(i / 2 * POOLED1 + i % 2) * MAPS1];
                }
                for (int j = 0; j < 2; j++) {
                    const int first = m + j * LANES;
                    const Vec bias = *(const Vec *)(work->bias2 + first);
                    float out[LANES];
                    int32_t where[LANES];
                    pool(sums[j], &bias, out, where);
                    for (int k = 0; k < LANES; k++) {
                        picture->flat[(first + k) * POOLED2 * POOLED2 + r * POOLED2 + c] = out[k];
                        picture->where2[(first + k) * POOLED2 * POOLED2 + r * POOLED2 + c] = (int8_t)where[k];
                    }
                }
            }
}

/* Hidden numbers `j` to `j` + 3 of `many` pictures, one or two. */
INLINE void hide(const Work *work, Picture *picture, int j, int many)
{
    Vec sums[4][2] = {{{0}}};
    for (int t = 0; t < FLAT; t += LANES)
        for (int k = 0; k < 4; k++)
            for (int i = 0; i < many; i++)
                sums[k][i] += *(const Vec *)(work->fc1 + (j + k) * FLAT + t) * *(const Vec *)(picture[i].flat + t);
    for (int i = 0; i < many; i++)
        for (int k = 0; k < 4; k++) {
            float sum = work->fc1_bias[j + k];
            for (int t = 0; t < LANES; t++)
                sum += sums[k][i][t];
            picture[i].hidden[j + k] = sum <= 0 ? 0 : sum;
        }
}

/* Scores of `count` pictures from `x` on. */
INLINE void forward(const Work *work, const float *x, int count, float *scores)
{
    Picture *pictures = work->room->pictures;
    for (int i = 0; i < count; i++) {
        convolve1(work, x + i * SIDE * SIDE, &pictures[i]);
        convolve2(work, &pictures[i]);
    }
    for (int j = 0; j < HIDDEN; j += 4) {
        int i = 0;
        for (; i + 2 <= count; i += 2)
            hide(work, pictures + i, j, 2);
        if (i < count)
            hide(work, pictures + i, j, 1);
    }
    for (int i = 0; i < count; i++)
        for (Py_ssize_t c = 0; c < work->classes; c++) {
            Few sum = {0};
            for (int j = 0; j < HIDDEN; j += FEW)
                sum += *(const Few *)(work->fc2 + c * HIDDEN + j) * *(const Few *)(pictures[i].hidden + j);
            scores[i * work->classes + c] = sum_of(&sum) + work->fc2_bias[c];
        }
}

/* Scores of a picture become the loss, a mean over the batch, differentiated by them. */
INLINE void find_error(const Work *work, float *scores, int64_t label)
{
    float most = scores[0], sum = 0;
    for (Py_ssize_t c = 1; c < work->classes; c++)
        most = scores[c] > most ? scores[c] : most; /* a NaN that this passes over makes the sum NaN */
    for (Py_ssize_t c = 0; c < work->classes; c++)
        sum += scores[c] = expf(scores[c] - most);
    for (Py_ssize_t c = 0; c < work->classes; c++)
        scores[c] = (scores[c] / sum - (c == label)) / (float)work->count;
}

/* The last layer: gradients by its weights, added to what other pictures gave, and by the hidden numbers. */
INLINE void back_outputs(const Work *work, int count, const float *errors)
{
    Picture *pictures = work->room->pictures;
    for (Py_ssize_t c = 0; c < work->classes; c++) {
        for (int j = 0; j < HIDDEN; j += FEW) {
            Few sum = *(Few *)(work->by_fc2 + c * HIDDEN + j);
            for (int i = 0; i < count; i++)
                sum += *(const Few *)(pictures[i].hidden + j) * errors[i * work->classes + c];
            *(Few *)(work->by_fc2 + c * HIDDEN + j) = sum;
        }
        for (int i = 0; i < count; i++)
            work->by_fc2_bias[c] += errors[i * work->classes + c];
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < HIDDEN; j += FEW) {
            Few sum = {0};
            for (Py_ssize_t c = 0; c < work->classes; c++)
                sum += *(const Few *)(work->fc2 + c * HIDDEN + j) * errors[i * work->classes + c];
            for (int k = 0; k < FEW; k++) {
                pictures[i].by_hidden[j + k] = pictures[i].hidden[j + k] > 0 ? sum[k] : 0;
                work->by_fc1_bias[j + k] += pictures[i].by_hidden[j + k];
            }
        }
}

/* The first linear layer's weights; their gradients are written by the first pictures, and added to by others. */
INLINE void back_hidden(const Work *work, int count, int first)
{
    const Picture *pictures = work->room->pictures;
    for (int j = 0; j < HIDDEN; j += 4)
        for (int t = 0; t < FLAT; t += 2 * LANES) {
            Vec sums[4][2] = {{{0}}};
            for (int i = 0; i < count; i++)
                for (int k = 0; k < 4; k++)
                    for (int l = 0; l < 2; l++)
                        sums[k][l] += *(const Vec *)(pictures[i].flat + t + l * LANES) * pictures[i].by_hidden[j + k];
            for (int k = 0; k < 4; k++)
                for (int l = 0; l < 2; l++) {
                    Vec *to = (Vec *)(work->by_fc1 + (j + k) * FLAT + t + l * LANES);
                    if (!first)
                        sums[k][l] += *to;
                    *to = sums[k][l];
                }
        }
}

/* Gradient by what went into the first linear layer, of `many` pictures: one or four. */
INLINE void back_flat(const Work *work, Picture *picture, int many)
{
    for (int t = 0; t < FLAT; t += 2 * LANES) {
        Vec sums[4][2] = {{{0}}};
        for (int j = 0; j < HIDDEN; j++)
            for (int k = 0; k < 2; k++)
                for (int i = 0; i < many; i++)
                    sums[i][k] += *(const Vec *)(work->fc1 + j * FLAT + t + k * LANES) * picture[i].by_hidden[j];
        for (int i = 0; i < many; i++)
            for (int k = 0; k < 2; k++)
                *(Vec *)(picture[i].by_flat + t + k * LANES) = sums[i][k];
    }
}

/* The second convolution: only where the pooling looked, and the ReLU is open. */
INLINE void back2(const Work *work, const Picture *picture)
{
    Room *room = work->room;
    memset(room->by_pool1, 0, sizeof room->by_pool1);
    for (int m = 0; m < MAPS2; m++) {
        float gradients[POOLED2 * POOLED2];
        int places[POOLED2 * POOLED2], open = 0; /* numbers from the first of pool1 on */
        for (int r = 0; r < POOLED2; r++)
            for (int c = 0; c < POOLED2; c++) {
                const int number = (m * POOLED2 + r) * POOLED2 + c, where = picture->where2[number];
                gradients[open] = picture->by_flat[number];
                places[open] = ((2 * r + where / 2) * POOLED1 + 2 * c + where % 2) * MAPS1;
                open += picture->flat[number] > 0;
            }
        for (int line = 0; line < 3; line++) {
            const float *kernel = room->turned2[m] + line * ROW;
            float *by_kernel = room->by_kernel2[m] + line * ROW;
            const float *in = picture->pool1[line * POOLED1];
            float *by_in = room->by_pool1[line * POOLED1];
            Vec sums[ROW / LANES];
            memcpy(sums, by_kernel, sizeof sums);
            for (int p = 0; p < open; p++)
                for (int k = 0; k < ROW / LANES; k++) {
                    sums[k] += *(const Vec *)(in + places[p] + k * LANES) * gradients[p];
                    *(Vec *)(by_in + places[p] + k * LANES) += *(const Vec *)(kernel + k * LANES) * gradients[p];
                }
            memcpy(by_kernel, sums, sizeof sums);
        }
        for (int p = 0; p < open; p++)
            work->by_bias2[m] += gradients[p];
    }
}

INLINE void back1(const Work *work, const float *x, const Picture *picture)
{
    Room *room = work->room;
    for (int m = 0; m < MAPS1; m += LANES) {
        Vec sums[TAPS], bias = *(Vec *)(work->by_bias1 + m);
        for (int t = 0; t < TAPS; t++)
            sums[t] = *(Vec *)(room->by_kernel1[t] + m);
        for (int r = 0; r < POOLED1; r++)
            for (int c = 0; c < POOLED1; c++) {
                const int pixel = r * POOLED1 + c;
                const float *from = x + 2 * r * SIDE + 2 * c;
                const Mask open = *(const Vec *)(picture->pool1[pixel] + m) > 0, place = *(const Mask *)(picture->where1[pixel] + m);
                const Vec gradient = (Vec)(*(const Mask *)(room->by_pool1[pixel] + m) & open);
                bias += gradient;
                for (int i = 0; i < 4; i++) {
                    const Vec own = (Vec)((Mask)gradient & (Mask)(place == i));
                    for (int t = 0; t < TAPS; t++)
                        sums[t] += own * from[(i / 2 + t / 3) * SIDE + i % 2 + t % 3];
                }
            }
        for (int t = 0; t < TAPS; t++)
            *(Vec *)(room->by_kernel1[t] + m) = sums[t];
        *(Vec *)(work->by_bias1 + m) = bias;
    }
}

__attribute__((unused FOR_PROCESSOR)) static void RUN(const Work *work)
{
    Room *room = work->room;
    for (Py_ssize_t begin = 0; begin < work->count; begin += AT_ONCE) {
        const int count = (int)(work->count - begin < AT_ONCE ? work->count - begin : AT_ONCE);
        const float *x = work->x + begin * SIDE * SIDE;
        float *scores = work->labels == NULL ? work->scores + begin * work->classes : work->scores;
        forward(work, x, count, scores);
        if (work->labels == NULL)
            continue;
        for (int i = 0; i < count; i++)
            find_error(work, scores + i * work->classes, work->labels[begin + i]);
        back_outputs(work, count, scores);
        back_hidden(work, count, begin == 0);
        int i = 0;
        for (; i + 4 <= count; i += 4)
            back_flat(work, room->pictures + i, 4);
        for (; i < count; i++)
            back_flat(work, room->pictures + i, 1);
        for (i = 0; i < count; i++) {
            back2(work, &room->pictures[i]);
            back1(work, x + i * SIDE * SIDE, &room->pictures[i]);
        }
    }
}

#undef Vec
#undef Mask
#undef Few
#undef FEW
#undef sum_of
#undef pool
#undef convolve1
#undef convolve2
#undef hide
#undef forward
#undef find_error
#undef back_outputs
#undef back_hidden
#undef back_flat
#undef back2
#undef back1
#undef INLINE
#undef NAMED
#undef NAMED_
#undef FOR_PROCESSOR
#undef RUN
#undef LANES
